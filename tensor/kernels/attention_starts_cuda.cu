#include "tensor/kernels/attention_starts.h"
#include "tensor/kernels/device/launch.cuh"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

// Thread d writes document d: its rows, and where it starts in each tensor.
__global__ void StartsKernel(const int32_t* __restrict__ cu_seqlens, int64_t first, int64_t last,
                             int64_t count, StartStrides strides, int32_t* __restrict__ lengths,
                             int32_t* __restrict__ starts) {
  WaitForPredecessors();
  const int64_t d = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (d > count) return;
  const int64_t document = min(first + d, last);
  const int32_t row = cu_seqlens[document];
  if (d < count) lengths[d] = document < last ? cu_seqlens[document + 1] - row : 0;
  for (int t = 0; t < kStartTensors; ++t) {
    starts[t * (count + 1) + d] = static_cast<int32_t>(row * strides.row[t]);
  }
}

}  // namespace

void DocumentStarts(const Stream& stream, const View& cu_seqlens, int64_t first, int64_t last,
                    int64_t count, const StartStrides& strides, int32_t* lengths, int32_t* starts) {
  StartKernel(StartsKernel, {Blocks(count + 1, 128), 128}, stream, cu_seqlens.as<int32_t>(), first,
              last, count, strides, lengths, starts);
}

}  // namespace lockstep::kernels::cuda
