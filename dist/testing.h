// For tests of ranks on GPUs.
#pragma once

#include <algorithm>

#include "dist/shared_gpus.h"
#include "tensor/runtime.h"

namespace lockstep::dist {

// How many ranks there can be here: one a GPU, four at least where ranks may share GPUs.
inline int MostGpuRanks() {
  const int gpus = CudaDeviceCount();
  return gpus > 0 && MayShareGpus(ReadEnvironment()) ? std::max(gpus, 4) : gpus;
}

}  // namespace lockstep::dist
