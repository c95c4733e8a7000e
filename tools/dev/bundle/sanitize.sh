#!/bin/bash
# Runs this bundle's kernel tests under compute-sanitizer's memcheck, racecheck and initcheck, each
# test and tool in a process of its own, half as many side by side as there are cores. Every tensor
# has memory of its own there, so that its end and what was never written are seen. Logs lie in
# logs/sanitizer/. Fails if a test fails or if a tool reports an error. Racecheck and initcheck watch
# our own kernels alone: they know neither the cluster barriers of cuBLASLt's kernels nor what cuDNN's
# write by the tensor memory accelerator. Tests of products (cuBLASLt's) and those named Long… are for
# memcheck alone: the others would take too long, and what our kernels do there they do in the short
# ones too. To be done in time, tests take the shapes that they name and draw none.
#
#   sanitize.sh [PATTERN of tests, as --gtest_filter takes them]
set -uo pipefail
here=$(dirname "$(readlink -f "$0")")
[ -d "$here/bin" ] || tar -C "$here" -xJf "$here/programs.tar.xz"
export tests=$here/tests/tensor_kernels_gpu_tests logs=$here/logs/sanitizer
export LOCKSTEP_TEST_SEPARATE_BLOCKS=1 LOCKSTEP_TEST_SHAPES=${LOCKSTEP_TEST_SHAPES:-0}
rm -rf "$logs"
mkdir -p "$logs"
cd "$here/runfiles" || exit 1

check() {  # check TOOL TEST
  local tool=$1 test=$2 log=$logs/$1.${2//\//_} options=()
  [ "$tool" = memcheck ] || options=(--kernel-name kns=lockstep)
  timeout 600 compute-sanitizer --tool "$tool" --print-limit 1000 --log-file "$log.errors" \
    "${options[@]}" "$tests" --gtest_filter="$test" >"$log.log" 2>&1 || touch "$log.failed"
  ! grep -qE 'SUMMARY: [1-9]' "$log.errors" || touch "$log.failed"
}
export -f check

for test in $("$tests" --gtest_list_tests --gtest_filter="${1:-*Cuda*:CublasLt*}" |
  awk '/^[^ ].*\.$/ { suite = $1 } /^  / { print suite $1 }'); do
  echo "memcheck $test"
  case $test in Long* | Gemm* | CublasLt*) ;; *) printf '%s\n' "racecheck $test" "initcheck $test" ;; esac
done | xargs -L 1 -P $((($(nproc) + 1) / 2)) bash -c 'check "$0" "$1"'

failed=0
for tool in memcheck racecheck initcheck; do
  passed=$(cat "$logs/$tool".*.log | grep -c '^\[  PASSED  \] 1 test')
  echo "$tool: $passed tests passed"
  for file in "$logs/$tool".*.failed; do
    [ -e "$file" ] || continue
    failed=1
    echo "${file##*/}; the ends of its logs:"
    tail -n 40 "${file%.failed}.errors" "${file%.failed}.log"
  done
done
exit "$failed"
