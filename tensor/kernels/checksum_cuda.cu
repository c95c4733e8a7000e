#include "tensor/kernels/checksum.h"
#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/device/reduce.cuh"

namespace lockstep::kernels::cuda {
namespace {

constexpr int kThreads = 512, kWordsPerThread = 16;

__global__ void ClearKernel(unsigned long long* y) {  // NOLINT: atomicAdd's type
  device::WaitForPredecessors();
  *y = 0;
}

// Block b has kThreads · kWordsPerThread words; the sum is the same in any order.
__global__ void ChecksumKernel(const uint64_t* __restrict__ words, int64_t n,
                               unsigned long long* y) {  // NOLINT
  device::WaitForPredecessors();
  __shared__ unsigned long long scratch[32];  // NOLINT
  const int64_t begin = int64_t{blockIdx.x} * kThreads * kWordsPerThread;
  unsigned long long sum = 0;  // NOLINT
#pragma unroll
  for (int k = 0; k < kWordsPerThread; ++k) {
    const int64_t i = begin + k * kThreads + threadIdx.x;
    if (i < n) sum += ChecksumTerm(words[i], i);
  }
  sum = device::BlockSum(sum, scratch);
  if (threadIdx.x == 0) atomicAdd(y, sum);
}

}  // namespace

void Checksum(const Stream& stream, const View& x, const View& y) {
  const int64_t n = static_cast<int64_t>(x.num_bytes() / sizeof(uint64_t));
  auto* sum = static_cast<unsigned long long*>(y.data);  // NOLINT
  device::StartKernel(ClearKernel, {1, 1}, stream, sum);
  if (n == 0) return;
  constexpr int64_t kBlock = int64_t{kThreads} * kWordsPerThread;
  device::StartKernel(ChecksumKernel, {device::Blocks(n, kBlock), kThreads}, stream,
                      static_cast<const uint64_t*>(x.data), n, sum);
}

}  // namespace lockstep::kernels::cuda
