// Launching narrow_panel.cuh's kernel.
#pragma once

#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/device/narrow_panel.cuh"

namespace lockstep::kernels::device::narrow {

template <typename Shape>
void Launch(const Stream& stream, const NarrowCut& cut, const Arguments& arguments) {
  if (cut.panels == 0) return;  // no rows: no partial sums
  const dim3 blocks(static_cast<unsigned>(cut.strips), static_cast<unsigned>(cut.panels));
  StartKernel(NarrowPanel<Shape>, {blocks, Shape::kThreads, Shape::kBytes}, stream, arguments);
}

}  // namespace lockstep::kernels::device::narrow
