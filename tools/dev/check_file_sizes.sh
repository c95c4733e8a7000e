#!/bin/bash
# A file has one purpose: names those above 400 lines, fails above 600.
set -euo pipefail
cd "$(dirname "$0")/../.."
git ls-files -z -co --exclude-standard '*.h' '*.cc' '*.cu' '*.cuh' '*.bzl' '*.sh' '*.py' bazelw .ci/run |
  xargs -0 awk '
    FNR == 1 { files[++n] = FILENAME }
    { lines[FILENAME] = FNR }
    END {
      for (i = 1; i <= n; i++) {
        count = lines[files[i]]
        if (count > 400) printf "%s: %d lines%s\n", files[i], count, (count > 600 ? ", over 600" : "")
        if (count > 600) failed = 1
      }
      exit failed
    }'
