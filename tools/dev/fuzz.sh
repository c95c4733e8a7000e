#!/bin/bash
# Searches with libFuzzer, by coverage, for inputs that a fuzz test does not survive; prints a line
# for each test and fails if one was found. What it died of lies in the folder that is named then.
#
#   tools/dev/fuzz.sh SECONDS      each test that long; Debian: clang-14 libclang-rt-14-dev
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
seconds=$1
tests=$(./bazelw query 'attr(deps, "//base/fuzz:driver", kind(cc_test, //...))' 2>/dev/null)
[ -n "$tests" ] || { echo "there is no fuzz test"; exit 1; }
# shellcheck disable=SC2086
./bazelw build --config=quiet --config=fuzz $tests || exit
bin=$(./bazelw info --config=fuzz bazel-bin 2>/dev/null)
findings=$(mktemp -d)
failed=0
for label in $tests; do
  path=$(sed 's,^//,,; s,:,/,' <<<"$label")
  corpus=$findings/$(tr / _ <<<"$path")
  mkdir "$corpus"
  # Its seeds, by the names that Bazel gives them beside the program.
  find -L "$bin/$path.runfiles" -path '*testdata*' -type f -exec cp {} "$corpus" \;
  if "$bin/$path" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
    -artifact_prefix="$findings/" "$corpus" >"$findings/log" 2>&1; then
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$findings/log")
    echo "$label: $runs inputs in $seconds s, no finding"
  else
    failed=1
    tail -30 "$findings/log"
    echo "$label: FOUND one, see $findings"
  fi
done
[ $failed = 1 ] || rm -rf "$findings"
exit $failed
