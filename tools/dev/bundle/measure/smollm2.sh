#!/bin/bash
# Where an epoch on GSM8K ends, for docs/numerics.md: three seeds in bf16, one in fp32 and in FP8, side
# by side; 120 s on an H200. tools/dev/peer_fine_tune.py does the same with transformers + PEFT. From
# a bundle:
#
#   measure/smollm2.sh MODEL gsm8k_train.jsonl FOLDER
#
# MODEL: SmolLM2-135M-Instruct.
set -u
model=$1 documents=$2 folder=$3
train() {  # train NAME FLAG...
  local name=$1
  shift
  "$(dirname "$0")/../run" train --device=cuda --model="$model" --train_file="$folder/train.jsonl" \
    --validation_file="$folder/validation.jsonl" --eval_steps=0 --output_dir="$folder/$name" "$@" \
    >"$folder/$name.log" 2>&1 || echo "$name: exit code $?: $(tail -n 3 "$folder/$name.log")"
}
mkdir -p "$folder"
awk 'NR % 20' "$documents" >"$folder/train.jsonl"
awk 'NR % 20 == 0' "$documents" >"$folder/validation.jsonl"
for seed in 1 2 3; do train "bf16_$seed" --seed=$seed & done
train fp32_3 --seed=3 --dtype=fp32 &
train fp8_3 --seed=3 --base_dtype=fp8 &
wait
grep '"eval_loss"' "$folder"/*/metrics.jsonl
