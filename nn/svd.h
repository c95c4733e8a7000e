// The largest singular values of a matrix and their vectors, by Golub and Kahan's bidiagonalization
// with full reorthogonalization (Lanczos), continued until they have converged.
// Source: Golub and Van Loan, Matrix Computations, 10.4.
#pragma once

#include <cstdint>
#include <vector>

namespace lockstep::nn {

// W ≈ Σ_i s[i] · u_i v_iᵀ, s descending.
struct LeadingSvd {
  std::vector<double> s;               // [r]
  std::vector<std::vector<double>> u;  // r vectors of the rows' size
  std::vector<std::vector<double>> v;  // r vectors of the columns' size
};

// `w` is row-major [rows, columns]; r is at most min(rows, columns). Singular values that are zero
// come with zero vectors. The result does not depend on the number of threads.
LeadingSvd LargestSingularVectors(const std::vector<float>& w, int64_t rows, int64_t columns,
                                  int64_t r);

}  // namespace lockstep::nn
