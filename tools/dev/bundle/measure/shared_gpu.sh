#!/bin/bash
# Ranks that share a GPU give the bytes of one rank: adapters, figures, --verify, a run that is stopped,
# killed and resumed on other numbers of ranks (docs/scaling.md). Fails if anything differs. Takes
# NCCL 2.30 or newer, by LD_PRELOAD where the machine has an older one
# (tools/dev/trim_cuda_library.py). From a bundle:
#
#   LD_PRELOAD=libnccl.so.2 measure/shared_gpu.sh MODEL gsm8k_train.jsonl FOLDER [FLAG...]
#
# MODEL: any; 1B of tools/dev/random_llama.py for the figures of docs/scaling.md. FLAG: for example
# --lora_dropout=0.1, --base_dtype=fp8, --train=full --gradient_sum=exact, or --device=cpu to try the
# script.
set -u
model=$1 documents=$2 folder=$3
shift 3
export NCCL_MULTI_RANK_GPU_ENABLE=1
failed=0
flags=(--device=cuda --model="$model" --train_file="$documents" --max_steps=60
  --global_batch_size=12 --tokens_per_pack=320 --max_seq_length=320 --validation_split=0.01
  --eval_steps=30 --save_steps=10 --learning_rate=2e-4 "$@")
# start RANKS NAME FLAG...: a run in the background, its parent in $parent.
start() {
  local ranks=$1 name=$2
  shift 2
  "$(dirname "$0")/../run" train "${flags[@]}" --nproc_per_node="$ranks" \
    --output_dir="$folder/$name" "$@" >>"$folder/$name.log" 2>&1 &
  parent=$!
}
# What a run made, and its figures but for times: one hash each.
made() { cat "$folder/$1"/*model*.safetensors | sha256sum | cut -c1-16; }
figures() {
  sed -E 's/"[a-z_]*(time|per_second)[a-z_]*":[^,}]*,?//g' "$folder/$1/metrics.jsonl" |
    sha256sum | cut -c1-16
}
# finish NAME: waits for it and compares it with the run of one rank.
finish() {
  wait "$parent" || { echo "$1: exit code $?: $(tail -n 3 "$folder/$1.log")" && failed=1; }
  echo "$1: $(made "$1") $(figures "$1") $(grep -h verified "$folder/$1.log")"
  [ "$(made "$1") $(figures "$1")" = "$(made 1) $(figures 1)" ] || failed=1
}
lines() { grep -c . < <(cat "$folder/resumed/metrics.jsonl" 2>/dev/null); }
# interrupt LINES SIGNAL: when its metrics have so many.
interrupt() {
  while [ "$(lines)" -lt "$1" ] && kill -0 "$parent"; do sleep 0.1; done
  kill "-$2" "$parent"
  wait "$parent"
  echo "resumed: interrupted by SIG$2 after $(lines) lines"
}
mkdir -p "$folder"
start 1 1 && finish 1
for ranks in 2 3 4 8; do start "$ranks" "$ranks" --verify && finish "$ranks"; done
start 3 resumed && interrupt 15 TERM
start 2 resumed && interrupt 40 KILL
start 8 resumed && finish resumed
exit $failed
