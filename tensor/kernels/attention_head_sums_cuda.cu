#include "tensor/kernels/attention_head_sums.h"
#include "tensor/kernels/device/launch.cuh"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

// Block r has row rows.begin + r; its threads the columns of dk, then those of dv.
__global__ void AddHeadKernel(RowRange rows, HeadGradients head, GroupPosition position,
                              float* __restrict__ sums, KeyGradients out) {
  const int64_t row = rows.begin + blockIdx.x;
  for (int64_t c = threadIdx.x; c < 2 * head.dim; c += blockDim.x) {
    const bool is_k = c < head.dim;
    const int64_t column = is_k ? c : c - head.dim;
    const float value =
        ToFloat(static_cast<const bf16*>(is_k ? head.dk : head.dv)[row * head.dim + column]);
    float& sum = sums[row * 2 * head.dim + c];
    const float total = position.first ? value : sum + value;
    if (position.last) {
      static_cast<bf16*>(is_k ? out.dk : out.dv)[row * out.row + column] = FromFloat<bf16>(total);
    } else {
      sum = total;
    }
  }
}

}  // namespace

void AddHead(const Stream& stream, const RowRange& rows, const HeadGradients& head,
             const GroupPosition& position, float* sums, const KeyGradients& out) {
  if (rows.begin == rows.end) return;
  AddHeadKernel<<<static_cast<unsigned>(rows.end - rows.begin), 128, 0, Handle(stream)>>>(
      rows, head, position, sums, out);
  LOCKSTEP_CHECK_LAUNCH();
}

}  // namespace lockstep::kernels::cuda
