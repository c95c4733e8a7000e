// How GluLora's one-pass kernels cut [T, F], and the products of glu_lora.h one by one.
#pragma once

#include <algorithm>

#include "tensor/kernels/dropped_lora.h"
#include "tensor/kernels/gemm.h"
#include "tensor/kernels/glu_lora.h"

namespace lockstep::kernels {

// Strips of columns and panels of rows, a block each: a function of the shape alone, because sums
// over a strip and over a panel are added up in its order. The numbers suit GPUs with about 132
// multiprocessors.
struct GluLoraCut {
  int64_t rank;     // what ranks are padded to: 16 or 32
  int64_t columns;  // of a strip
  int64_t strips, panels, panel_rows;
};

inline GluLoraCut CutGluLora(int64_t rows, int64_t width, int64_t rank, int64_t columns,
                             int64_t blocks) {
  GluLoraCut cut = {rank <= 16 ? 16 : 32, columns, (width + columns - 1) / columns, 0, 0};
  const int64_t most = std::max<int64_t>(blocks / std::max<int64_t>(cut.strips, 1), 1);
  cut.panel_rows = std::max<int64_t>((rows + most * 16 - 1) / (most * 16) * 16, 16);
  cut.panels = (rows + cut.panel_rows - 1) / cut.panel_rows;
  return cut;
}
inline GluLoraCut CutForward(int64_t rows, int64_t width, int64_t rank) {
  return CutGluLora(rows, width, rank, 256, 4 * 132);
}
inline GluLoraCut CutBackward(int64_t rows, int64_t width, int64_t rank) {
  return CutGluLora(rows, width, rank, rank <= 16 ? 512 : 256, 2 * 132);
}

// next.h = dropout(y) · next.b.
inline void MultiplyNext(const Stream& stream, const View& y, const DropoutMask& mask,
                         const LoraFactor& next) {
  if (next.h.rank == 0) return;
  if (mask.empty()) return Gemm(stream, y, next.b, next.h);
  kernels::DroppedInputs(stream, y, {{Transposed(next.b), next.h, mask}});
}

// dy += dropout(share).
inline void AddDropped(const Stream& stream, const LoraShare& share, const DropoutMask& mask,
                       const View& dy) {
  if (share.empty()) return;
  kernels::DroppedShares(stream, {{Transposed(share.b), share.h, mask}}, /*accumulate=*/true, dy);
}

// c ← alpha · a b, or += where it accumulates; c of any strides that have neighbors.
inline void MultiplyInto(const Stream& stream, const View& a, const View& b, const View& c,
                         double alpha, bool accumulate) {
  const GemmOptions options = {.alpha = alpha, .beta = accumulate ? 1.0 : 0.0};
  if (c.stride[1] == 1 || c.shape[1] == 1) {
    Gemm(stream, a, b, c, options);
  } else {
    Gemm(stream, Transposed(b), Transposed(a), Transposed(c), options);
  }
}

// The products of backward that read dz, [T, 2F], and y.
inline void MultiplyGradients(const Stream& stream, const View& dz, const View& y,
                              const LoraShare& gate, const LoraShare& up, const LoraShare& of_dy,
                              const DropoutMask& mask, const GluLoraGradients& to,
                              const View& scratch) {
  const int64_t width = dz.shape[1] / 2;
  const auto half = [&](const View& d, const LoraShare& share, const LoraShareGradient& gradient) {
    if (gradient.dh.rank != 0) Gemm(stream, d, share.b, gradient.dh, {.alpha = share.scale});
    if (gradient.db.rank == 0) return;
    MultiplyInto(stream, Transposed(d), share.h, gradient.db, share.scale, gradient.accumulate);
  };
  half(dz.Slice(1, 0, width), gate, to.gate);
  half(dz.Slice(1, width, 2 * width), up, to.up);
  if (to.dy_db.rank == 0) return;
  if (mask.empty()) {
    return MultiplyInto(stream, Transposed(y), of_dy.h, to.dy_db, 1, to.accumulate_dy_db);
  }
  kernels::DroppedGradients(
      stream, {.x = y}, {{{}, of_dy.h, mask, Transposed(to.dy_db), to.accumulate_dy_db}}, scratch);
}

}  // namespace lockstep::kernels
