// Power and clock of the GPU that a program computes on, from the driver's management library.
#pragma once

#include <memory>

#include "tensor/device.h"

namespace lockstep {

class GpuMeter {
 public:
  // Null on a CPU, in a build without CUDA, and where the library is not there.
  static std::unique_ptr<GpuMeter> Open(Device device);
  virtual ~GpuMeter() = default;

  virtual double Joules() const = 0;     // that it has taken since its driver was loaded
  virtual double Megahertz() const = 0;  // of its multiprocessors, now
};

}  // namespace lockstep
