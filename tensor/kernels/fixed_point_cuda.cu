#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/fixed_point.h"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

// One thread 4 elements: reads 4·(sizeof(T) + 8), writes 32 bytes. Scaling by a power of two is
// exact in either type, so rounding happens once, in __double2ll_rn.
template <typename T>
__global__ void AddKernel(const T* __restrict__ x, double scale, double limit, int64_t n,
                          int64_t* __restrict__ sum, unsigned long long* overflow) {
  WaitForPredecessors();
  const int64_t begin = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * 4;
  unsigned bad = 0;
#pragma unroll
  for (int64_t i = begin; i < min(begin + 4, n); ++i) {
    const double scaled = static_cast<double>(x[i]) * scale;
    if (fabs(scaled) <= limit) {  // false for what is not finite
      sum[i] += __double2ll_rn(scaled);
    } else {
      ++bad;
    }
  }
  if (bad != 0) atomicAdd(overflow, static_cast<unsigned long long>(bad));  // a count: order-free
}

template <typename T>
__global__ void FromKernel(const int64_t* __restrict__ sum, double scale, int64_t n,
                           T* __restrict__ y) {
  WaitForPredecessors();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) y[i] = static_cast<T>(static_cast<double>(sum[i]) * scale);
}

}  // namespace

void AddFixedPoint(const Stream& stream, const View& x, int fraction_bits, int64_t max_terms,
                   const View& sum, const View& overflow) {
  const int64_t n = x.numel();
  if (n == 0) return;
  const auto launch = [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    StartKernel(AddKernel<T>, {Blocks(n, 4 * 256), 256}, stream, x.as<T>(),
                std::ldexp(1.0, fraction_bits), FixedPointLimit(max_terms), n, sum.as<int64_t>(),
                overflow.as<unsigned long long>());
  };
  x.dtype == DType::kF64 ? launch(static_cast<double*>(nullptr))
                         : launch(static_cast<float*>(nullptr));
}

void FromFixedPoint(const Stream& stream, const View& sum, int fraction_bits, const View& y) {
  const int64_t n = sum.numel();
  if (n == 0) return;
  const auto launch = [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    StartKernel(FromKernel<T>, {Blocks(n, 256), 256}, stream, sum.as<int64_t>(),
                std::ldexp(1.0, -fraction_bits), n, y.as<T>());
  };
  y.dtype == DType::kF64 ? launch(static_cast<double*>(nullptr))
                         : launch(static_cast<float*>(nullptr));
}

}  // namespace lockstep::kernels::cuda
