#!/bin/bash
# Shows that build actions see only the workspace files that they declare, and no network.
set -euo pipefail
cd "$(dirname "$0")/../.."
package=//tools/dev/hermetic

# Nothing from a cache: each action has to run here and now.
build() { ./bazelw build --config=quiet --disk_cache= "$@"; }

build $package:declared_read
if errors=$(build $package:undeclared_read 2>&1); then
  echo "an action read a file that it does not declare"
  exit 1
fi
if ! grep -q 'undeclared.txt: No such file' <<<"$errors"; then
  printf 'undeclared_read failed for another reason:\n%s\n' "$errors"
  exit 1
fi
echo "an undeclared file cannot be read"

if ! unshare --user --net true 2>/dev/null; then
  echo "network: not checked, this machine allows no namespaces (Bazel falls back to a weaker sandbox)"
  exit 0
fi
build $package:interfaces
seen=$(cat "$(./bazelw info bazel-bin 2>/dev/null)/tools/dev/hermetic/interfaces.txt")
if [ "$seen" != lo ]; then
  printf 'an action sees more of the network than loopback:\n%s\n' "$seen"
  exit 1
fi
echo "actions see no network but loopback"
