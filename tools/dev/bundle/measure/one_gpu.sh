#!/bin/bash
# The tables "On one GPU" and "Beside its own ceiling" of docs/performance.md; 150 s on an H200 that
# does nothing else. From a bundle (tools/gpu_bundle):
#
#   measure/one_gpu.sh
bench() {
  echo "== $SECONDS s: bench $*"
  "$(dirname "$0")/../run" bench --device=cuda "$@" 2>&1
}
nvidia-smi --query-gpu=name,driver_version,power.limit,clocks.max.sm --format=csv,noheader
bench --shape=8b --packs=2x4096,1x4096,53x155 --steps=3 --warmup=1
bench --shape=1b --packs=2x4096 --steps=8 --ceiling=3
bench --shape=8b --packs=2x4096 --steps=4 --warmup=1 --ceiling=2 --norepeat
bench --shape=8b --packs=2x4096,53x155 --steps=3 --warmup=1 --norepeat
bench --shape=8b --packs=2x4096 --gradient_checkpointing=layer --steps=3 --warmup=1
bench --shape=8b --packs=2x4096 --base_dtype=fp8 --steps=4 --warmup=1 --norepeat
bench --shape=1b --packs=1x32768 --steps=2 --warmup=1
bench --shape=135m --packs=53x155 --steps=20 --warmup=5
bench --shape=8b --packs=1x32768 --score_gib=8 --steps=1 --warmup=1 --norepeat
bench --shape=8b --packs=1x32768 --gradient_checkpointing=layer --steps=1 --warmup=1 --norepeat
bench --shape=8b --packs=1x32768 --gradient_checkpointing=layer --score_gib=16 --steps=1 --warmup=1 --norepeat
bench --shape=8b --packs=2x4096,1x4096 --steps=3 --warmup=1 --norepeat --top=24
