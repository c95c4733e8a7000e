// CUDA_CHECK(call): a call of the CUDA runtime that cannot fail, or the program ends and says which
// did. For files that are built with CUDA alone.
#pragma once

#include <cuda_runtime_api.h>

#include "base/check.h"

#define CUDA_CHECK(call)                                                              \
  do {                                                                                \
    const cudaError_t error = (call);                                                 \
    CHECK(error == cudaSuccess) << "[cuda] " #call ": " << cudaGetErrorString(error); \
  } while (false)
