// Gemm: C = alpha · A · B + beta · C + bias
//
//   A      [M, K]  f64 or f32, on CUDA also bf16 or f16
//   B      [K, N]  A's dtype, on the CPU also bf16 or f16 (frozen weights, converted as they are
//                  read)
//   C      [M, N]  written; read only if beta ≠ 0. A's dtype, or f32 where A has 16 bits
//   bias   [N]     optional, added to every row; A's dtype, bf16 or f16
// A transposed matrix is a view with its dimensions exchanged, so y = x Wᵀ with W as it lies in
// memory, [N, K], is Gemm(stream, x, Transposed(w), y). A and B must have neighbors in memory along
// one dimension, C along its rows; the other stride is free. C overlaps neither A nor B. M, N and K
// may be zero: a product over K = 0 is zero.
//
// Sums over K: f64 for f64, otherwise f32. Where C has 16 bits and beta is 1, cuBLASLt rounds the
// sum before it adds C on Hopper (docs/numerics.md, "The first updates in bf16"). The result is a
// function of the arguments and of the processor's instruction set alone, never of the number of
// threads.
#pragma once

#include "tensor/view.h"

namespace lockstep::kernels {

struct GemmOptions {
  double alpha = 1;
  double beta = 0;
  View bias = {};  // rank 0: none
};

void Gemm(const Stream& stream, const View& a, const View& b, const View& c,
          const GemmOptions& options = {});

// The same elements with the two dimensions exchanged.
constexpr View Transposed(const View& x) {
  View out = x;
  out.shape[0] = x.shape[1];
  out.shape[1] = x.shape[0];
  out.stride[0] = x.stride[1];
  out.stride[1] = x.stride[0];
  return out;
}

// How a matrix lies in memory, in a BLAS library's words.
struct MatrixLayout {
  bool valid;       // one dimension has neighbors in memory, the other does not overlap
  bool transposed;  // columns, not rows, are contiguous
  int64_t ld;       // elements between the starts of neighboring rows (columns if transposed)
};

constexpr MatrixLayout LayoutOf(const View& x) {
  const auto fits = [&](int along, int across) {
    return (x.shape[along] <= 1 || x.stride[along] == 1) &&
           (x.shape[across] <= 1 || x.stride[across] >= x.shape[along]);
  };
  const auto leading = [&](int along, int across) -> int64_t {
    if (x.shape[across] > 1) return x.stride[across] > 1 ? x.stride[across] : 1;
    return x.shape[along] > 1 ? x.shape[along] : 1;
  };
  if (fits(1, 0)) return {true, false, leading(1, 0)};
  if (fits(0, 1)) return {true, true, leading(0, 1)};
  return {false, false, 0};
}

namespace cpu {
void Gemm(const Stream& stream, const View& a, const View& b, const View& c,
          const GemmOptions& options);
}
namespace cuda {
void Gemm(const Stream& stream, const View& a, const View& b, const View& c,
          const GemmOptions& options);
}

}  // namespace lockstep::kernels
