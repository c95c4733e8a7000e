// LoraShare: what a LoRA adapter adds to a linear layer's outputs (or, in backward, to the gradient
// of its inputs), for a kernel that adds it while it reads them anyway:
//
//   share = scale · h bᵀ, [T, N]
//
//   h   [T, r]  x Aᵀ (or g, the gradient of h); contiguous neighbors, rows of any stride
//   b   [N, r]  lora_B (or A transposed); any strides
// No view in h (rank 0): nothing is added.
//
// CUDA kernels that take a share compute it on tensor cores and want h and b in bf16, and
// LoraShareFits().
#pragma once

#include "tensor/view.h"

namespace lockstep::kernels {

struct LoraShare {
  View h = {}, b = {};
  double scale = 1;

  bool empty() const { return h.rank == 0; }
};

// The gradients of a share's factors, from the gradient d [T, N] of what the share is part of:
// dh [T, r] = scale · d b and db [N, r] = (or +=) scale · dᵀ h. No view (rank 0): not asked for.
struct LoraShareGradient {
  View dh = {}, db = {};
  bool accumulate = false;  // db
};

// Whether the warp tiles of device/lora_share.cuh can compute a share of rank `rank`.
constexpr bool LoraShareFits(int64_t rank) { return rank % 4 == 0 && rank <= 64; }

}  // namespace lockstep::kernels
