#!/bin/sh
# Writes third_party/debian.lock from the versions installed here. Run it where .ci/run has just
# passed, and commit the result: ./bazelw warns where a machine has others.
set -eu
cd "$(dirname "$0")/../.."
packages=$(grep -hv -e '^#' -e '^$' third_party/debian.txt third_party/debian_ci.txt | cut -d' ' -f1)
# shellcheck disable=SC2086
dpkg-query -W -f='${Package} ${Version}\n' $packages | LC_ALL=C sort >third_party/debian.lock
