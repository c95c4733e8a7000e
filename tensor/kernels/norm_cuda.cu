#include <cmath>

#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/device/reduce.cuh"
#include "tensor/kernels/fixed_point.h"
#include "tensor/kernels/norm.h"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

// One block a chunk of kNormChunk elements: thread t takes elements t, t + 512, …; then a fixed
// tree.
template <typename T>
__global__ void PartialKernel(const T* __restrict__ x, int64_t n, double unit, double* partials) {
  WaitForPredecessors();
  __shared__ double scratch[32];
  const int64_t begin = blockIdx.x * kNormChunk;
  const int64_t end = min(begin + kNormChunk, n);
  double sum = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
    const double value = static_cast<double>(x[i]) * unit;
    sum += value * value;
  }
  sum = BlockSum(sum, scratch);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

__global__ void TotalKernel(const double* __restrict__ partials, int64_t count, double* norm) {
  WaitForPredecessors();
  __shared__ double scratch[32];
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) sum += partials[i];
  sum = BlockSum(sum, scratch);
  if (threadIdx.x == 0) norm[0] = sqrt(sum);
}

__global__ void ClipKernel(const double* norm, double max_norm, double* coefficient) {
  WaitForPredecessors();
  const double clipped = max_norm == 0 ? 1.0 : fmin(1.0, max_norm / (norm[0] + 1e-6));
  coefficient[0] = isfinite(norm[0]) ? clipped : nan("");
}

}  // namespace

void SquareSums(const Stream& stream, const View& x, const View& partials) {
  const int64_t n = x.numel(), count = NormPartials(n);
  const auto launch = [&](auto* type, double unit) {
    using T = std::remove_pointer_t<decltype(type)>;
    if (count > 0) {
      StartKernel(PartialKernel<T>, {static_cast<unsigned>(count), 512}, stream, x.as<T>(), n, unit,
                  partials.as<double>());
    }
  };
  if (x.dtype == DType::kI64) {
    launch(static_cast<int64_t*>(nullptr), std::ldexp(1.0, -kGradientFractionBits));
  } else if (x.dtype == DType::kF64) {
    launch(static_cast<double*>(nullptr), 1.0);
  } else {
    launch(static_cast<float*>(nullptr), 1.0);
  }
}

void RootOfSum(const Stream& stream, const View& partials, const View& norm) {
  StartKernel(TotalKernel, {1, 512}, stream, partials.as<double>(), partials.numel(),
              norm.as<double>());
}

void ClipCoefficient(const Stream& stream, const View& norm, double max_norm,
                     const View& coefficient) {
  StartKernel(ClipKernel, {1, 1}, stream, norm.as<double>(), max_norm, coefficient.as<double>());
}

}  // namespace lockstep::kernels::cuda
