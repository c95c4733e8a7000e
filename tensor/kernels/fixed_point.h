// Sums that do not depend on their order: contributions are rounded to a multiple of a quantum and
// added as 64-bit integers, which is associative. docs/numerics.md proves the error bound.
//
//   AddFixedPoint:   sum[i] += rint(x[i] · 2^fraction_bits)        (to nearest, ties to even)
//   FromFixedPoint:  y[i] = sum[i] · 2^−fraction_bits
//
//   x         [n], contiguous; f64 or f32
//   sum       [n], contiguous; i64
//   y         [n], contiguous; f64 or f32, rounded to nearest even
//   overflow  [1]; i64. Integers wrap silently, so it is the contribution that is checked: one
//             that is not finite, or so large that `max_terms` like it might exceed 2⁶³ − 1, is not
//             added, and overflow[0] counts it.
//   max_terms at least as many contributions as are ever added to one element: the packs of a step,
//             over all ranks
#pragma once

#include "tensor/view.h"

namespace lockstep::kernels {

inline constexpr int kGradientFractionBits = 50;
inline constexpr int kLossFractionBits = 30;

// The largest |rint(x · 2^fraction_bits)| that is added: a multiple of 2¹⁰, so exact in double, and
// at most (2⁶³ − 1) / max_terms.
constexpr double FixedPointLimit(int64_t max_terms) {
  return static_cast<double>((INT64_MAX / max_terms) & ~int64_t{1023});
}

void AddFixedPoint(const Stream& stream, const View& x, int fraction_bits, int64_t max_terms,
                   const View& sum, const View& overflow);
void FromFixedPoint(const Stream& stream, const View& sum, int fraction_bits, const View& y);

namespace cpu {
decltype(kernels::AddFixedPoint) AddFixedPoint;
decltype(kernels::FromFixedPoint) FromFixedPoint;
}  // namespace cpu
namespace cuda {
decltype(kernels::AddFixedPoint) AddFixedPoint;
decltype(kernels::FromFixedPoint) FromFixedPoint;
}  // namespace cuda

}  // namespace lockstep::kernels
