#!/bin/bash
# Runs this bundle's kernel tests under compute-sanitizer's memcheck, racecheck and initcheck, each
# in several processes side by side. Every tensor has memory of its own there, so that its end and
# what was never written are seen. Logs lie in logs/. Ends with the errors of each tool and fails if
# there is one.
#
#   sanitize.sh [--gtest_filter=PATTERN]
#
# racecheck looks at our own kernels only: the libraries' shared memory is theirs.
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

check() {  # check SHARD TOOL OPTION...
  local shard=$1 tool=$2
  shift 2
  GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$shard compute-sanitizer --tool "$tool" \
    --error-exitcode 9 --print-limit 50 --log-file "$logs/$tool.$shard.errors" "$@" \
    "$tests" "$filter" >"$logs/$tool.$shard.log" 2>&1 || touch "$logs/$tool.$shard.failed"
}

cd "$here/runfiles" || exit 1
for ((shard = 0; shard < shards; ++shard)); do
  check "$shard" memcheck &
  check "$shard" racecheck --kernel-regex kns=lockstep &
  check "$shard" initcheck &
done
wait

failed=0
for tool in memcheck racecheck initcheck; do
  passed=$(cat "$logs/$tool".*.log | awk '/^\[  PASSED  \]/ { n += $4 } END { print n + 0 }')
  echo "$tool: $passed tests passed; $(grep -hoE '(ERROR|RACECHECK) SUMMARY: .*' "$logs/$tool".*.errors | tr '\n' ';')"
  for file in "$logs/$tool".*.failed; do
    [ -e "$file" ] || continue
    failed=1
    echo "${file##*/}; the ends of its logs:"
    tail -n 40 "${file%.failed}.errors" "${file%.failed}.log"
  done
done
exit "$failed"
