// How fast a model's weights reach a device, and how much host memory that takes on the way;
// docs/tools.md has the figures.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "tensor/device.h"

namespace lockstep {

// Loads the weights of the folder `model` as bf16 and prints the time, the rate in bytes of the
// files, and the most host memory that was the process's own (anonymous, so without mapped pages of
// the files, which are page cache), beside the weights themselves where the device is the CPU.
absl::Status BenchLoad(const std::string& model, const Device& device);

}  // namespace lockstep
