// How LoraGradients is cut where one kernel does it, and its products one by one.
#pragma once

#include <algorithm>

#include "tensor/kernels/gemm.h"
#include "tensor/kernels/lora_gradients.h"
#include "tensor/kernels/narrow_cut.h"

namespace lockstep::kernels {

inline int64_t RankOf(const LoraPart& part) {
  return part.share.h.rank != 0 ? part.share.h.shape[1] : part.share.b.shape[1];
}

inline NarrowCut CutLoraGradients(int64_t rows, const std::vector<LoraPart>& parts) {
  int64_t rank = 0, strips = 0;
  for (const LoraPart& part : parts) rank = std::max(rank, RankOf(part));
  for (const LoraPart& part : parts) strips += NarrowCut::Strips(part.width(), rank);
  return NarrowCut(rows, strips, rank);
}

inline void MultiplyParts(const Stream& stream, const View& d, const std::vector<LoraPart>& parts) {
  for (const LoraPart& part : parts) {
    const View own = d.Slice(1, part.first, part.first + part.width());
    const double scale = part.share.scale;
    const LoraShareGradient& to = part.gradient;
    if (to.db.rank != 0) {
      Gemm(stream, Transposed(own), part.share.h, to.db,
           {.alpha = scale, .beta = to.accumulate ? 1.0 : 0.0});
    }
    if (to.dh.rank != 0) Gemm(stream, own, part.share.b, to.dh, {.alpha = scale});
  }
}

}  // namespace lockstep::kernels
