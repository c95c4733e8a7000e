#!/bin/bash
# Unsloth and ours in turns on one GPU, in bf16 and in FP8, then transformers + PEFT, for the tables of
# docs/performance.md; 250 s on an H200, of which 60 to 120 go into loading and compiling. A peer is
# one process for all rounds, ours starts anew in each. From a bundle:
#
#   PYTHONPATH=UNSLOTH measure/peers.sh MODEL FOLDER
#
# MODEL: 8B of tools/dev/random_llama.py. UNSLOTH: the folder with the package, if it is not installed.
set -u
here=$(dirname "$(readlink -f "$0")") model=$1 folder=$2
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 UNSLOTH_DISABLE_STATISTICS=1 PYTHONUNBUFFERED=1
mkdir -p "$folder"
cd "$folder" || exit 1
# begin NAME ARGUMENT...: a peer that answers lines (tools/dev/peer_steps.py).
begin() {
  local name=$1 questions answers
  shift
  rm -f "$name.questions" "$name.answers"
  mkfifo "$name.questions" "$name.answers"
  python3 "$here/peer_steps.py" "$@" <"$name.questions" >"$name.answers" 2>"$name.log" &
  exec {questions}>"$name.questions" {answers}<"$name.answers"
  declare -g "to_$name=$questions" "from_$name=$answers"
}
ask() {  # ask NAME "PACK STEPS STEPS_BEFORE"
  local to=to_$1 from=from_$1 answer
  echo "$2" >&"${!to}"
  read -r -t 200 answer <&"${!from}" || answer="$1: no answer to \"$2\": $(tail -n 3 "$1.log")"
  echo "$SECONDS s: $answer"
}
ours() {
  "$here/../run" bench --device=cuda --shape=8b --steps=4 --warmup=1 --norepeat "$@" 2>&1 |
    grep -v TFLOP
}
begin bf16 unsloth "$model"
ask bf16 "2x4096 0 2"
ask bf16 "1x4096 0 2"
begin fp8 unsloth "$model" --fp8
ask fp8 "2x4096 0 2"
for _ in 1 2 3; do
  ours --packs=2x4096,1x4096
  ask bf16 "2x4096 6 1"
  ask bf16 "1x4096 8 1"
  ours --packs=2x4096 --base_dtype=fp8
  ask fp8 "2x4096 6 1"
done
jobs -p | xargs kill
wait
begin transformers transformers "$model"
ask transformers "2x4096 5 1"
ours --packs=2x4096
jobs -p | xargs kill
