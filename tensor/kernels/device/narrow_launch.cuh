// Launching narrow_panel.cuh's kernel.
#pragma once

#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/device/narrow_panel.cuh"

namespace lockstep::kernels::device::narrow {

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
