#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/softcap.h"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

template <typename T>
__global__ void SoftcapKernel(const T* x, float cap, T* y, int64_t n) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) y[i] = FromFloat<T>(cap * tanhf(ToFloat(x[i]) / cap));
}

}  // namespace

void Softcap(const Stream& stream, const View& x, double cap, const View& y) {
  if (y.numel() == 0) return;
  DispatchType("softcap", y, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    SoftcapKernel<T><<<Blocks(y.numel(), 256), 256, 0, Handle(stream)>>>(
        x.as<T>(), static_cast<float>(cap), y.as<T>(), y.numel());
    LOCKSTEP_CHECK_LAUNCH();
  });
}

}  // namespace lockstep::kernels::cuda
