#!/bin/bash
# The lists of Debian packages agree: what third_party/system.bzl links is in debian.txt, and what
# debian.txt and debian_ci.txt name has a version in debian.lock.
set -euo pipefail
cd "$(dirname "$0")/../../third_party"
failed=0
want() {  # want PACKAGE FILE... : one of the files has a line that starts with the package
  local package=$1
  shift
  grep -qh "^$package " "$@" || {
    echo "$package is missing in: $*"
    failed=1
  }
}
for package in $(sed -n 's/^ *debian = "\(.*\)",$/\1/p' system.bzl); do want "$package" debian.txt; done
for package in $(grep -hv -e '^#' -e '^$' debian.txt debian_ci.txt | cut -d' ' -f1); do
  want "$package" debian.lock
done
exit $failed
