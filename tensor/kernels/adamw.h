// AdamW (Loshchilov and Hutter, 2019) over flat memory in one pass, in torch.optim.AdamW's order of
// operations:
//
//   g      = gradient · coefficient[0]
//   param ← param · (1 − lr·weight_decay)
//   m     ← m + (1 − beta1)·(g − m)
//   v     ← beta2·v + (1 − beta2)·g²
//   param ← param − lr/(1 − beta1^step) · m / (sqrt(v)/sqrt(1 − beta2^step) + eps)
//
//   gradient       [n]: i64 in quanta of 2^−kGradientFractionBits, or f32, or f64
//   coefficient    [1] f64, on the device: the clip factor
//   overflow       [1] i64, on the device: of the exact sums (fixed_point.h)
//                  Not zero, or a factor that is NaN, means that the gradient is wrong: nothing is
//                  changed, on any rank.
//   param, m, v    [n]; f32 or f64, the three alike; read and written. Arithmetic is theirs, the
//                  gradient is scaled in double.
//   image          [n] bf16: param rounded to nearest even, for the products of mixed precision;
//                  no data: not wanted
//   ranges         which elements have which rate: ascending, disjoint, within [0, n), in host
//                  memory, read before the call returns. Elements in no range stay as they are.
// All are contiguous.
#pragma once

#include "tensor/view.h"

namespace lockstep::kernels {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  int64_t step = 1;  // counts from 1
};

struct AdamWRange {
  int64_t begin;
  int64_t end;
  double lr;  // of this step, LoRA+'s factor included
  double weight_decay;
};

struct AdamWRanges {
  const AdamWRange* data;
  int64_t size;
};

void AdamW(const Stream& stream, const View& gradient, const View& coefficient,
           const View& overflow, const AdamWOptions& options, const AdamWRanges& ranges,
           const View& param, const View& m, const View& v, const View& image);

namespace cpu {
decltype(kernels::AdamW) AdamW;
}
namespace cuda {
decltype(kernels::AdamW) AdamW;
}

}  // namespace lockstep::kernels
