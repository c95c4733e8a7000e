#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include "tools/benchmarks/gpu_meter.h"

namespace lockstep {
namespace {

// What we use of NVML (https://docs.nvidia.com/deploy/nvml-api), whose header the toolkit may lack.
using NvmlDevice = void*;
constexpr int kSuccess = 0;
constexpr int kSmClock = 1;
struct Nvml {
  int (*init)();
  int (*by_bus)(const char* pci_bus_id, NvmlDevice* device);
  int (*energy)(NvmlDevice device, unsigned long long* millijoules);  // NOLINT(runtime/int)
  int (*clock)(NvmlDevice device, int type, unsigned* megahertz);

  bool Load() {
    void* library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    const auto find = [&](auto& function, const char* symbol) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(
          library == nullptr ? nullptr : dlsym(library, symbol));
      return function != nullptr;
    };
    return find(init, "nvmlInit_v2") && find(by_bus, "nvmlDeviceGetHandleByPciBusId_v2") &&
           find(energy, "nvmlDeviceGetTotalEnergyConsumption") &&
           find(clock, "nvmlDeviceGetClockInfo") && init() == kSuccess;
  }
};

class NvmlMeter final : public GpuMeter {
 public:
  NvmlMeter(const Nvml& nvml, NvmlDevice device) : nvml_(nvml), device_(device) {}

  double Joules() const override {
    unsigned long long millijoules = 0;  // NOLINT(runtime/int)
    nvml_.energy(device_, &millijoules);
    return 1e-3 * static_cast<double>(millijoules);
  }
  double Megahertz() const override {
    unsigned megahertz = 0;
    nvml_.clock(device_, kSmClock, &megahertz);
    return megahertz;
  }

 private:
  const Nvml nvml_;
  const NvmlDevice device_;
};

}  // namespace

std::unique_ptr<GpuMeter> GpuMeter::Open(Device device) {
  Nvml nvml;
  NvmlDevice found = nullptr;
  char bus[32];
  if (device.type != DeviceType::kCUDA || !nvml.Load() ||
      cudaDeviceGetPCIBusId(bus, sizeof bus, device.index) != cudaSuccess ||
      nvml.by_bus(bus, &found) != kSuccess) {
    return nullptr;
  }
  return std::make_unique<NvmlMeter>(nvml, found);
}

}  // namespace lockstep
