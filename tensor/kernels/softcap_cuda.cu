#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/device/special_functions.cuh"
#include "tensor/kernels/softcap.h"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

// One thread N elements. special_functions.cuh's tanh, which is off by 2^-22 of the cap, is for
// bf16: it would be most of what fp32 logits are off by.
template <typename T, int N>
__global__ void SoftcapKernel(const T* x, float cap, T* y, int64_t n) {
  WaitForPredecessors();
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * N;
  if (i >= n) return;
  const float inverse = 1 / cap;
  float v[N];
  Load(x + i, v);
#pragma unroll
  for (int j = 0; j < N; ++j) {
    v[j] = cap * (std::is_same_v<T, bf16> ? Tanh(v[j] * inverse) : tanhf(v[j] / cap));
  }
  Store(y + i, v);
}

}  // namespace

void Softcap(const Stream& stream, const View& x, double cap, const View& y) {
  if (y.numel() == 0) return;
  DispatchType("softcap", y, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const int64_t n = y.numel();
    DispatchVectors<T>(Vectorizable(x, n, 0) && Vectorizable(y, n, 0), [&](auto vector) {
      StartKernel(SoftcapKernel<T, vector()>, {Blocks(n, 256 * vector()), 256}, stream, x.as<T>(),
                  static_cast<float>(cap), y.as<T>(), n);
    });
  });
}

}  // namespace lockstep::kernels::cuda
