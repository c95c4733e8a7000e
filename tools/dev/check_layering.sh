#!/bin/bash
# Proves the direction of dependencies with Bazel's own graph: prints and fails on a path that
# leads from a layer to one that it must not know.
#
#   base <- tensor <- autograd <- nn <- trainer      tools and tests see everything,
#   base <- dist <- trainer, base <- data <- trainer      nothing sees them
set -euo pipefail
cd "$(dirname "$0")/../.."

# layer: what it must not reach, directly or not.
forbidden="
base:     tensor autograd nn dist data trainer tools tests
tensor:   autograd nn dist data trainer tools tests
autograd: nn dist data trainer tools tests
nn:       dist data trainer tools tests
dist:     tensor/kernels autograd nn data trainer tools tests
data:     tensor/kernels autograd nn dist trainer tools tests
trainer:  tools tests
tools:    tests
trainer/step:   trainer/report trainer/flags trainer/plan trainer/checkpoint
trainer/report: trainer/step trainer/flags trainer/plan trainer/checkpoint
trainer/flags:  trainer/plan trainer/checkpoint
trainer/plan:   trainer/checkpoint
"

has_packages() { [ -n "$(find "$1" -name BUILD -print -quit 2>/dev/null)" ]; }

failed=0
while IFS=: read -r layer others; do
  if [ -z "$layer" ] || ! has_packages "$layer"; then continue; fi
  targets=
  for other in $others; do
    if has_packages "$other"; then targets="$targets + //$other/..."; fi
  done
  [ -n "$targets" ] || continue
  path=$(./bazelw query --noshow_progress "somepath(//$layer/..., ${targets# + })" 2>/dev/null) || {
    echo "bazel query failed for $layer"
    failed=1
  }
  if [ -n "$path" ]; then
    printf '%s must not depend on:%s; it does:\n%s\n' "$layer" "$others" "$path"
    failed=1
  fi
done <<<"$forbidden"
exit $failed
