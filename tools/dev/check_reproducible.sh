#!/bin/bash
# Builds targets a second time, in another folder, output base and without any cache, and fails
# unless the bytes are those of this checkout's build.
#
#   tools/dev/check_reproducible.sh //trainer:train
set -euo pipefail
cd "$(dirname "$0")/../.."
elsewhere=$(mktemp -d /tmp/lockstep_second_build.XXXXXX)
trap 'cd "$elsewhere/copy" && ./bazelw clean --expunge >/dev/null 2>&1; rm -rf "$elsewhere"' EXIT

mkdir "$elsewhere/copy"
git ls-files -z -co --exclude-standard | tar --null -T - -c | tar -x -C "$elsewhere/copy"

outputs() {
  ./bazelw build --config=quiet "$@" >&2
  bin=$(./bazelw info bazel-bin 2>/dev/null)
  for target in "$@"; do
    [[ $target == -* ]] || echo "$bin/$(sed 's,^//,,; s,:,/,' <<<"$target")"
  done | xargs sha256sum | sed "s,$bin/,,"
}

first=$(outputs "$@")
second=$(cd "$elsewhere/copy" && outputs --disk_cache= "$@")
if [ "$first" != "$second" ]; then
  printf 'two clean builds differ:\n%s\n%s\n' "$first" "$second"
  exit 1
fi
printf 'byte-identical in two builds:\n%s\n' "$first"
