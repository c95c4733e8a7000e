#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/scale.h"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

// One thread N elements.
template <typename T, typename Y, int N>
__global__ void ScaleKernel(const T* x, const double* __restrict__ factor, bool accumulate, Y* y,
                            int64_t n) {
  WaitForPredecessors();
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * N;
  if (i >= n) return;
  const float f = static_cast<float>(*factor);
  float v[N], old[N];
  Load(x + i, v);
  if (accumulate) Load(y + i, old);
#pragma unroll
  for (int j = 0; j < N; ++j) v[j] = accumulate ? old[j] + f * v[j] : f * v[j];
  Store(y + i, v);
}

}  // namespace

void Scale(const Stream& stream, const View& x, const View& factor, bool accumulate,
           const View& y) {
  const int64_t n = y.numel();
  if (n == 0) return;
  DispatchType("scale", x, [&](auto* from) {
    DispatchType("scale", y, [&](auto* to) {
      using T = std::remove_pointer_t<decltype(from)>;
      using Y = std::remove_pointer_t<decltype(to)>;
      // 16 bytes of the wider type.
      using Wider = std::conditional_t<(sizeof(T) > sizeof(Y)), T, Y>;
      const bool vectors = n % kVec<Wider> == 0 && Vectorizable(x, 8, 0) && Vectorizable(y, 8, 0);
      DispatchVectors<Wider>(vectors, [&](auto vector) {
        StartKernel(ScaleKernel<T, Y, vector()>, {Blocks(n, 256 * vector()), 256}, stream,
                    x.as<T>(), factor.as<double>(), accumulate, y.as<Y>(), n);
      });
    });
  });
}

}  // namespace lockstep::kernels::cuda
