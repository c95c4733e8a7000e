#!/bin/bash
# Kernels come up while those before them end (tensor/kernels/device/launch.cuh), so each must begin
# with WaitForPredecessors(): names the kernels of tensor/kernels that do not, and launches in another
# way than by StartKernel, and fails.
set -euo pipefail
cd "$(dirname "$0")/../.."
git ls-files -z -co --exclude-standard 'tensor/kernels/*.cu' 'tensor/kernels/*.cuh' |
  xargs -0 awk '
    FNR == 1 { signature = 0 }
    { sub(/[ \t]*\/\/.*/, "") }
    /<<</ || (/cudaLaunch[A-Z][A-Za-z]*\(/ && FILENAME !~ /\/launch\.cuh$/) {
      printf "%s:%d: not launched by StartKernel\n", FILENAME, FNR
      failed = 1
    }
    /__global__/ { signature = FNR; body = 0; kernels++ }
    signature && !body { body = /\{$/; next }
    signature && NF {
      if ($0 !~ /^ *(device::)?WaitForPredecessors\(\);$/) {
        printf "%s:%d: this kernel does not begin with WaitForPredecessors()\n", FILENAME, signature
        failed = 1
      }
      signature = 0
    }
    END { exit failed || !kernels }'
