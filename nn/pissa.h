// PiSSA's first values (Meng et al., arXiv:2404.02948): with U S Vᵀ the r largest singular values
// of W, A = √(S/s)·Vᵀ and B = U·√(S/s), so that s·B·A is W's principal part, which leaves W.
#pragma once

#include <cstdint>
#include <vector>

namespace lockstep::nn {

struct PissaFactors {
  std::vector<float> a;  // [r, columns]
  std::vector<float> b;  // [rows, r]
};

// `w` is row-major [rows, columns]; `scale` is LoRA's s.
PissaFactors PissaOf(const std::vector<float>& w, int64_t rows, int64_t columns, int64_t r,
                     double scale);

}  // namespace lockstep::nn
