// Launching narrow_panel.cuh's kernel.
#pragma once

#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/device/narrow_panel.cuh"

namespace lockstep::kernels::device::narrow {

// Whether rows of 16-bit elements with neighbors start at 16 bytes.
inline bool RowsAligned(const View& x) {
  return x.dtype == DType::kBF16 && x.stride[1] == 1 && Vectorizable(x, x.shape[1], x.stride[0]);
}
inline bool RankFits(int64_t rank, int64_t most) { return rank % 8 == 0 && rank <= most; }

// An output that PartialSumKernel writes 4 elements at a time.
inline bool Fits(const View& to, DType dtype) {
  const size_t bytes = 4 * SizeOf(dtype);
  return to.dtype == dtype && to.stride[1] == 1 && to.stride[0] % 4 == 0 && to.shape[1] % 4 == 0 &&
         reinterpret_cast<uintptr_t>(to.data) % bytes == 0;
}

template <typename Shape>
void Launch(const Stream& stream, const NarrowCut& cut, const Arguments& arguments) {
  if (cut.panels == 0) return;  // no rows: no partial sums
  auto* const kernel = &NarrowPanel<Shape>;
  LOCKSTEP_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Shape::kBytes));
  const dim3 blocks(static_cast<unsigned>(cut.strips), static_cast<unsigned>(cut.panels));
  kernel<<<blocks, Shape::kThreads, Shape::kBytes, Handle(stream)>>>(arguments);
  LOCKSTEP_CHECK_LAUNCH();
}

}  // namespace lockstep::kernels::device::narrow
