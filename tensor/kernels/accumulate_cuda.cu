#include "tensor/kernels/accumulate.h"
#include "tensor/kernels/device/launch.cuh"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

// One thread N elements: reads 2·N, writes N; sums in fp32.
template <typename T, int N>
__global__ void AccumulateKernel(const T* __restrict__ x, T* __restrict__ y, int64_t n) {
  WaitForPredecessors();
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * N;
  if (i >= n) return;
  float a[N], b[N];
  Load(x + i, a);
  Load(y + i, b);
#pragma unroll
  for (int j = 0; j < N; ++j) b[j] += a[j];
  Store(y + i, b);
}

}  // namespace

void Accumulate(const Stream& stream, const View& x, const View& y) {
  const int64_t n = y.numel();
  if (n == 0) return;
  DispatchType("accumulate", y, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    if (Vectorizable(x, n, 0) && Vectorizable(y, n, 0)) {
      StartKernel(AccumulateKernel<T, kVec<T>>, {Blocks(n, 256 * kVec<T>), 256}, stream, x.as<T>(),
                  y.as<T>(), n);
    } else {
      StartKernel(AccumulateKernel<T, 1>, {Blocks(n, 256), 256}, stream, x.as<T>(), y.as<T>(), n);
    }
  });
}

}  // namespace lockstep::kernels::cuda
