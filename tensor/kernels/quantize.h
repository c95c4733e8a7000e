// QuantizeRows: codes[t, c] = e4m3(x[t, c] · factors[c] / scales[t])
//
//   x         [T, C]  rows of neighbors; f32 on a CPU, bf16 on CUDA
//   factors   [C]     f32, optional (rank 0): each column's, all 1
//   codes     [T, C]  u8, e4m3 as they lie in memory; contiguous
//   scales    [T]     f32: max(2⁻¹⁰⁰, max_c |x[t, c] · factors[c]|) / 448
// So a row's largest element becomes the largest code exactly, which counts where one channel is
// most of a row, and its codes and scale depend on that row alone. A row with an infinity or NaN
// keeps a NaN. C is a multiple of 16.
//
// TransposeCodes: to[c, t] = codes[t, c], both u8 and contiguous.
#pragma once

#include "tensor/view.h"

namespace lockstep::kernels {

inline constexpr float kLeastMagnitude = 0x1p-100f;  // that a row is scaled by

// A matrix in e4m3: x[t, c] ≈ scales[t] · codes[t, c].
struct ScaledRows {
  View codes;   // [T, C] u8
  View scales;  // [T] f32
};

void QuantizeRows(const Stream& stream, const View& x, const View& factors, const ScaledRows& to);
void TransposeCodes(const Stream& stream, const View& codes, const View& to);

namespace cpu {
decltype(kernels::QuantizeRows) QuantizeRows;
decltype(kernels::TransposeCodes) TransposeCodes;
}  // namespace cpu
namespace cuda {
decltype(kernels::QuantizeRows) QuantizeRows;
decltype(kernels::TransposeCodes) TransposeCodes;
}  // namespace cuda

}  // namespace lockstep::kernels
