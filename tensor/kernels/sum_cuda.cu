#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/device/reduce.cuh"
#include "tensor/kernels/sum.h"

namespace lockstep::kernels::cuda {
namespace {

// One block: thread t takes elements t, t + 1024, …; then a fixed tree.
__global__ void SumKernel(const double* __restrict__ x, int64_t n, double scale, double* y) {
  device::WaitForPredecessors();
  __shared__ double scratch[32];
  double sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) sum += x[i];
  sum = device::BlockSum(sum, scratch);
  if (threadIdx.x == 0) y[0] = scale * sum;
}

}  // namespace

void Sum(const Stream& stream, const View& x, double scale, const View& y) {
  device::StartKernel(SumKernel, {1, 1024}, stream, x.as<double>(), x.numel(), scale,
                      y.as<double>());
}

}  // namespace lockstep::kernels::cuda
