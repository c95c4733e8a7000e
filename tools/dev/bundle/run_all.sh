#!/bin/bash
# Runs every test of this bundle, the trainer on its embedded example, and the trainer under the
# launchers that are installed: side by side, and then, one after the other, the tests that need the
# machine for themselves (alone/). Logs lie in logs/. Ends with "N passed, N failed, N skipped" and
# fails if a test failed, or was skipped for another reason than that it needs more GPUs than the one
# or more that are here, or another kind: nothing else is missing that a test could wait for, except
# launchers.
set -uo pipefail
here=$(dirname "$(readlink -f "$0")")
[ -d "$here/bin" ] || tar -C "$here" -xJf "$here/programs.tar.xz"
logs=$here/logs
rm -rf "$logs"
mkdir -p "$logs"

counts() { awk -f "$here/count_cases.awk" "$@"; }

run_test() {  # run_test PROGRAM
  local name code
  name=$(basename "$1")
  mkdir -p "$logs/tmp/$name"
  (cd "$here/runfiles" && TEST_TMPDIR=$logs/tmp/$name \
    timeout 1200 "$1" --gtest_output="xml:$logs/$name.xml") >"$logs/$name.log" 2>&1
  code=$?
  [ -s "$logs/$name.xml" ] || echo "<testcase name='$name'><error/></testcase>" >"$logs/$name.xml"
  echo "$name: $(counts "$logs/$name.xml"), after $SECONDS s"
  if [ $code != 0 ]; then
    echo "$name: exit code $code; the end of logs/$name.log:"
    tail -n 30 "$logs/$name.log"
  fi
  rm -rf "$logs/tmp/$name"
}

run_trainer() {
  local error=
  "$here/run" train --output_dir="$logs/run" >"$logs/train.log" 2>&1 || error="<error/>"
  echo "<testcase name='train'>$error</testcase>" >"$logs/train.xml"
  echo "train: $(counts "$logs/train.xml"), after $SECONDS s"
  [ -z "$error" ] || tail -n 30 "$logs/train.log"
}

run_launchers() {
  local passed failed
  "$here/scripts/tests/launchers_test.sh" "$here/bin/train" "$here/bin/lossy_link" cuda \
    >"$logs/launchers.log" 2>&1
  grep -E "^(FAILED|SKIPPED)|skipped$" "$logs/launchers.log" |
    sed "s/^/launchers: /; s/skipped$/&, after $SECONDS s/"
  read -r passed _ failed _ < <(grep -E "^[0-9]+ passed" "$logs/launchers.log")
  for _ in $(seq "${passed:-0}"); do echo "<testcase name='launchers'></testcase>"; done \
    >"$logs/launchers.xml"
  [ "${failed:-1}" = 0 ] || echo "<testcase name='launchers'><error/></testcase>" >>"$logs/launchers.xml"
}

for program in "$here"/tests/*; do run_test "$program" & done
run_trainer &
run_launchers &
wait
for program in "$here"/alone/*; do run_test "$program"; done

read -r passed _ failed _ skipped _ < <(counts "$logs"/*.xml)
too_small=$(cat "$logs"/*.xml | grep -cE '<skipped message="[^"]*needs ([0-9]+ GPUs, got [1-9]|Hopper GPUs)')
failed=$((failed + skipped - too_small))
[ "$skipped" = "$too_small" ] ||
  echo "$((skipped - too_small)) skipped although there is a GPU, or as there is none: they count as failed"
[ "$too_small" = 0 ] || echo "$too_small skipped: they need more GPUs than there are, or others"
echo "$passed passed, $failed failed, $too_small skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
