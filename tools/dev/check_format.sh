#!/bin/bash
# Fails if clang-format 14 would change a C++ or CUDA file. `tools/dev/check_format.sh --fix` does it.
set -euo pipefail
cd "$(dirname "$0")/../.."
mode=(--dry-run -Werror)
[ "${1:-}" != --fix ] || mode=(-i)
git ls-files -z -co --exclude-standard '*.h' '*.cc' '*.cu' '*.cuh' |
  xargs -0 --no-run-if-empty -P 2 -n 40 clang-format-14 "${mode[@]}"
