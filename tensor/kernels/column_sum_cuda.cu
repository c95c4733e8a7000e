#include "tensor/kernels/column_sum.h"
#include "tensor/kernels/device/launch.cuh"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

// One block 32 columns: warp w sums rows w, w + 32, …; then the warps in order.
template <typename T, typename Y>
__global__ void ColumnSumKernel(const T* __restrict__ x, int64_t row_stride, int64_t rows,
                                int64_t columns, bool accumulate, Y* __restrict__ y) {
  __shared__ float parts[32][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * 32 + lane;
  float sum = 0;
  if (column < columns) {
    for (int64_t row = warp; row < rows; row += 32) sum += ToFloat(x[row * row_stride + column]);
  }
  parts[warp][lane] = sum;
  __syncthreads();
  if (warp != 0 || column >= columns) return;
  float total = accumulate ? ToFloat(y[column]) : 0.0f;
  for (int w = 0; w < 32; ++w) total += parts[w][lane];
  y[column] = FromFloat<Y>(total);
}

}  // namespace

void ColumnSum(const Stream& stream, const View& x, bool accumulate, const View& y) {
  if (y.numel() == 0) return;
  DispatchType("column_sum", x, [&](auto* from) {
    DispatchType("column_sum", y, [&](auto* to) {
      using T = std::remove_pointer_t<decltype(from)>;
      using Y = std::remove_pointer_t<decltype(to)>;
      ColumnSumKernel<T, Y><<<Blocks(x.shape[1], 32), 1024, 0, Handle(stream)>>>(
          x.as<T>(), x.stride[0], x.shape[0], x.shape[1], accumulate, y.as<Y>());
      LOCKSTEP_CHECK_LAUNCH();
    });
  });
}

}  // namespace lockstep::kernels::cuda
