#!/bin/bash
# Runs README.md's commands: every line of its ```sh blocks, in order. A command that names
# ../shared is skipped, visibly, where that folder is missing.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
failed=0
while IFS= read -r command; do
  case "$command" in
    *../shared*) [ -d ../shared ] || { echo "skipped, ../shared is missing: $command"; continue; } ;;
  esac
  echo "\$ $command"
  bash -c "$command" </dev/null || { echo "README.md: exit code $? from: $command"; failed=1; }
done < <(awk '/^```sh$/ { on = 1; next } /^```/ { on = 0 }
  on && /\\$/ { sub(/\\$/, ""); printf "%s", $0; next }
  on && !/^ *(#|$)/' README.md)
exit $failed
