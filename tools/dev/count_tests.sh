#!/bin/bash
# Counts test cases, from what `bazel test --build_event_json_file=FILE` wrote: prints
# "N passed, N failed, N skipped".
#
#   tools/dev/count_tests.sh FILE
#
# The cases are those of every test.xml that the run reports. A crash loses a file's cases: Bazel
# then writes one with an error, which counts as one failure. A test that did not come to run (it
# did not compile, say) is one failure. DISABLED_ cases count as skipped.
set -euo pipefail
events=$(realpath "$1")
cd "$(dirname "$0")/../.."

# One label for each test of the run; for each test with a result, one.
tests=$(grep '"testSize"' "$events" | grep -o '"targetConfigured":{"label":"[^"]*' |
  sed 's/.*"//' | sort -u || true)
ran=$(grep -o '^{"id":{"testResult":{"label":"[^"]*' "$events" | sed 's/.*"//' | sort -u || true)
incompatible=$(grep '"reason":"SKIPPED"' "$events" | grep -o '"label":"[^"]*' | sed 's/.*"//' |
  sort -u || true)
lost=$(comm -23 <(echo "$tests") <(printf '%s\n%s\n' "$ran" "$incompatible" | sort -u))
for label in $lost; do echo "$label did not run: counted as one failure" >&2; done

reports=$(grep '^{"id":{"testResult"' "$events" | grep -o 'file://[^"]*/test\.xml' |
  sed 's,file://,,' | sort -u || true)
{
  for label in $lost; do echo "<testcase name='$label'><error/></testcase>"; done
  for report in $reports; do cat "$report"; done
} | awk -f tools/dev/count_cases.awk
