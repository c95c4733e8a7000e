#!/bin/bash
# Runs this bundle's kernel tests under compute-sanitizer's memcheck, racecheck and initcheck, each
# in several processes side by side. Every tensor has memory of its own there, so that its end and
# what was never written are seen. Logs lie in logs/sanitizer/. Fails if a test fails or if a tool
# reports an error: memcheck any, the others one that names a kernel of ours, because they know
# neither the cluster barriers of cuBLASLt's kernels nor what cuDNN's write by the tensor memory
# accelerator.
#
#   sanitize.sh [--gtest_filter=PATTERN]
set -uo pipefail
here=$(dirname "$(readlink -f "$0")")
[ -d "$here/bin" ] || tar -C "$here" -xJf "$here/programs.tar.xz"
tests=$here/tests/tensor_kernels_gpu_tests
filter=${1:---gtest_filter=*Cuda*}
logs=$here/logs/sanitizer
shards=3
export LOCKSTEP_TEST_SEPARATE_BLOCKS=1
rm -rf "$logs"
mkdir -p "$logs"

check() {  # check SHARD TOOL ERROR_PATTERN OPTION...
  local shard=$1 tool=$2 error=$3 log=$logs/$2.$1
  shift 3
  GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$shard timeout 900 compute-sanitizer \
    --tool "$tool" --print-limit 1000 --log-file "$log.errors" "$@" \
    "$tests" "$filter" >"$log.log" 2>&1 || touch "$log.failed"
  ! grep -q "$error" "$log.errors" || touch "$log.failed"
}

cd "$here/runfiles" || exit 1
for ((shard = 0; shard < shards; ++shard)); do
  check "$shard" memcheck 'ERROR SUMMARY: [1-9]' &
  check "$shard" racecheck 'lockstep::' &
  check "$shard" initcheck 'lockstep::' --kernel-name-exclude kns=cudnn &
done
wait

failed=0
for tool in memcheck racecheck initcheck; do
  passed=$(cat "$logs/$tool".*.log | awk '/^\[  PASSED  \]/ { n += $4 } END { print n + 0 }')
  summaries=$(grep -hoE '(ERROR|RACECHECK) SUMMARY: .*' "$logs/$tool".*.errors | tr '\n' ';')
  echo "$tool: $passed tests passed; $summaries"
  for file in "$logs/$tool".*.failed; do
    [ -e "$file" ] || continue
    failed=1
    echo "${file##*/}; the ends of its logs:"
    tail -n 40 "${file%.failed}.errors" "${file%.failed}.log"
  done
done
exit "$failed"
