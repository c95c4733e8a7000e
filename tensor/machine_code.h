// Whether this program can run on a GPU at all. For runtime_cuda.cc alone.
#pragma once

#include <cuda_runtime_api.h>

namespace lockstep::cuda {

// cudaSuccess, or why the current device cannot run this program's kernels: they were compiled for
// others (bazel's //bazel:cuda_archs), or the driver is too old to translate them.
cudaError_t TryMachineCode();

}  // namespace lockstep::cuda
