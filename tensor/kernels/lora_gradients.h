// LoraGradients: what LoRA needs of d [T, N], the gradient of a linear layer's outputs, in one pass
// over it. Part i is columns [first_i, first_i + n_i) of d, whose share is scale_i · h_i b_iᵀ
// (lora_share.h). Each where it is asked for (rank not 0):
//
//   dh_i [T, r_i] = scale_i · d_i b_i,   db_i [n_i, r_i] = (or +=) scale_i · d_iᵀ h_i
//
//   d        [T, N]  rows of any stride; f64 or f32, on CUDA also bf16 or f16
//   h_i, b_i         d's dtype; as gemm.h wants them; may be absent where db_i, or dh_i, is
//   dh_i             d's dtype, contiguous neighbors in a row
//   db_i             f32 (f64 for f64), contiguous neighbors in a row
// Sums in f32 (f64 for f64).
//
// On CUDA one kernel does it all where d is bf16, rows of d, h and b start at 16 bytes, ranks are
// 8, 16, 24 or 32, all of dh and db are asked for and there are at most 4 parts; otherwise the
// products come one by one. Either is deterministic, and a function of the shapes and the GPU's
// model.
#pragma once

#include <vector>

#include "tensor/kernels/lora_share.h"
#include "tensor/view.h"

namespace lockstep::kernels {

struct LoraPart {
  int64_t first;
  LoraShare share;
  LoraShareGradient gradient;
  int64_t width() const { return share.b.rank != 0 ? share.b.shape[0] : gradient.db.shape[0]; }
};

// Elements of f32 scratch memory that it wants.
int64_t LoraGradientsScratch(int64_t rows, const std::vector<LoraPart>& parts);

void LoraGradients(const Stream& stream, const View& d, const std::vector<LoraPart>& parts,
                   const View& scratch);

namespace cpu {
decltype(kernels::LoraGradients) LoraGradients;
}
namespace cuda {
decltype(kernels::LoraGradients) LoraGradients;
}

}  // namespace lockstep::kernels
