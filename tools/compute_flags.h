// The flags that say where and how tools compute: --device, --dtype and --num_threads.
#pragma once

#include "absl/status/statusor.h"
#include "tensor/device.h"
#include "tensor/dtype.h"

namespace lockstep {

struct ComputeOptions {
  Device device;
  DType dtype;
};

// Reads the flags and sets the number of threads. Errors: UserError.
absl::StatusOr<ComputeOptions> ReadComputeFlags();

}  // namespace lockstep
