#include "nn/pissa.h"

#include <cmath>

#include "nn/svd.h"

namespace lockstep::nn {

PissaFactors PissaOf(const std::vector<float>& w, int64_t rows, int64_t columns, int64_t r,
                     double scale) {
  const LeadingSvd svd = LargestSingularVectors(w, rows, columns, r);
  PissaFactors out;
  out.a.resize(r * columns);
  out.b.resize(rows * r);
  for (int64_t k = 0; k < r; ++k) {
    const double root = std::sqrt(svd.s[k] / scale);
    for (int64_t j = 0; j < columns; ++j) {
      out.a[k * columns + j] = static_cast<float>(root * svd.v[k][j]);
    }
    for (int64_t i = 0; i < rows; ++i) out.b[i * r + k] = static_cast<float>(root * svd.u[k][i]);
  }
  return out;
}

}  // namespace lockstep::nn
