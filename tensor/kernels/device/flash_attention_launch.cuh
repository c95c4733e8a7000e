// Launching the kernels of flash attention.
#pragma once

#include <type_traits>

#include "tensor/kernels/device/flash_attention_tiles.cuh"
#include "tensor/kernels/device/launch.cuh"

namespace lockstep::kernels::device::flash {

// Calls body with the width of heads that kernels are compiled for, as a compile-time value.
template <typename Body>
void DispatchDim(int64_t dim, const Body& body) {
  if (dim <= 64) {
    body(std::integral_constant<int, 64>());
  } else if (dim <= 96) {
    body(std::integral_constant<int, 96>());
  } else if (dim <= 128) {
    body(std::integral_constant<int, 128>());
  } else {
    body(std::integral_constant<int, 256>());
  }
}

// A block for each tile that `rows` rows can need, and each of `heads` heads.
template <typename Shape, typename Arguments>
void Launch(const Stream& stream, void (*kernel)(Arguments), const Arguments& arguments,
            int64_t rows, int64_t heads) {
  const int64_t tiles = NumTiles(rows, arguments.problem.documents, Shape::kRows);
  StartKernel(kernel, {static_cast<unsigned>(tiles * heads), Shape::kThreads, Shape::kBytes},
              stream, arguments);
}

}  // namespace lockstep::kernels::device::flash
