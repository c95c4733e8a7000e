// Where memory lies and where work is ordered. Plain enough for .cu files.
#pragma once

#include <cstdint>

namespace lockstep {

// kMeta has shapes and allocations but neither memory nor arithmetic: a forward and backward pass
// on it is the memory plan. Kernels check their arguments there and return.
enum class DeviceType : uint8_t { kCPU, kCUDA, kMeta };

struct Device {
  DeviceType type = DeviceType::kCPU;
  int8_t index = 0;  // which GPU; 0 elsewhere

  friend constexpr bool operator==(Device a, Device b) {
    return a.type == b.type && a.index == b.index;
  }
};

constexpr const char* NameOf(DeviceType type) {
  switch (type) {
    case DeviceType::kCPU:
      return "cpu";
    case DeviceType::kCUDA:
      return "cuda";
    case DeviceType::kMeta:
      return "meta";
  }
  return "?";
}

// An ordered queue of work. On the CPU and on kMeta a call has happened when it returns, and
// `handle` is null; on CUDA `handle` is a cudaStream_t, which somebody else owns.
struct Stream {
  Device device;
  void* handle = nullptr;
};

}  // namespace lockstep
