#!/bin/bash
# From the command to the end of a first step, and to the adapter of an epoch of GSM8K, for
# docs/performance.md; 80 s on an H200. From a bundle:
#
#   measure/trainer.sh MODEL gsm8k_train.jsonl FOLDER
#
# MODEL: 8B of tools/dev/random_llama.py; for the peers' form of the documents without the
# chat_template of its tokenizer_config.json. Its files are read once before, into the page cache.
set -u
model=$1 documents=$2 folder=$3
train() {  # train NAME FLAG...
  local name=$1 start=$EPOCHREALTIME code
  shift
  "$(dirname "$0")/../run" train --device=cuda --model="$model" --train_file="$documents" \
    --output_dir="$folder/$name" "$@" >"$folder/$name.log" 2>&1
  code=$?
  echo "$name: exit code $code, $(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $start }") s from the command to the end"
  grep -E '^(made ready|the first step ended|memory|step +[0-9]+/|error|HINT)' "$folder/$name.log"
}
mkdir -p "$folder"
cat "$model"/*.safetensors >/dev/null
train first_step --global_batch_size=48 --max_steps=1
train epoch --loss_on=all --global_batch_size=512 \
  --pair_template=$'Question: {prompt}\nAnswer: {completion}'
