// RopeLora: what lies between the product for q, k and v and attention, in one pass over its
// result: LoRA's shares are added, then q and k are rotated (rope.h).
//
//   x[:, heads of part i] += scale_i · h_i b_iᵀ,   then x[:, n] = rotated(x[:, n]) for n < rotated
//
//   x        [T, N, D], contiguous; f64 or f32, on CUDA bf16; in place
//   parts    heads one behind the other, N of them in all, each with its share (lora_share.h):
//            b [heads · D, r], h [T, r]; or none
//   table    [T, P, 2], as in rope.h
// A result is rounded once, behind both. On CUDA what RopeLoraTakes.
#pragma once

#include <vector>

#include "tensor/kernels/lora_share.h"
#include "tensor/view.h"

namespace lockstep::kernels {

struct HeadsShare {
  int64_t heads;
  LoraShare share;
};

// Whether CUDA has this op for heads of `head_dim` of which all are rotated in `pairs`. Shares want
// LoraShareFits.
constexpr bool RopeLoraTakes(DType dtype, int64_t head_dim, int64_t pairs) {
  return dtype == DType::kBF16 && head_dim == 128 && pairs == 64;
}

void RopeLora(const Stream& stream, const View& x, const std::vector<HeadsShare>& parts,
              int64_t rotated, const View& table);

namespace cpu {
decltype(kernels::RopeLora) RopeLora;
}
namespace cuda {
decltype(kernels::RopeLora) RopeLora;
}

}  // namespace lockstep::kernels
