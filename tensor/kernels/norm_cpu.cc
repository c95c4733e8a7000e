#include <algorithm>
#include <cmath>

#include "base/thread_pool.h"
#include "tensor/kernels/cpu/math.h"
#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/fixed_point.h"
#include "tensor/kernels/norm.h"

namespace lockstep::kernels::cpu {
namespace {

template <typename T>
double SumOfSquares(const T* x, int64_t n, double unit) {
  return SumOf<double>(n, [=](int64_t i) {
    const double value = static_cast<double>(x[i]) * unit;
    return value * value;
  });
}

double SumOfSquares(const View& x, int64_t begin, int64_t end) {
  switch (x.dtype) {
    case DType::kF64:
      return SumOfSquares(x.as<double>() + begin, end - begin, 1.0);
    case DType::kF32:
      return SumOfSquares(x.as<float>() + begin, end - begin, 1.0);
    default:
      return SumOfSquares(x.as<int64_t>() + begin, end - begin,
                          std::ldexp(1.0, -kGradientFractionBits));
  }
}

}  // namespace

void SquareSums(const Stream& stream, const View& x, const View& partials) {
  double* partial = partials.as<double>();
  ParallelForRange(x.shape[0], kNormChunk, [&](int64_t begin, int64_t end) {
    partial[begin / kNormChunk] = SumOfSquares(x, begin, end);
  });
}

void RootOfSum(const Stream& stream, const View& partials, const View& norm) {
  const double* partial = partials.as<double>();
  norm.as<double>()[0] =
      std::sqrt(SumOf<double>(partials.shape[0], [=](int64_t i) { return partial[i]; }));
}

void ClipCoefficient(const Stream& stream, const View& norm, double max_norm,
                     const View& coefficient) {
  const double value = norm.as<double>()[0];
  const double clipped = max_norm == 0 ? 1.0 : std::min(1.0, max_norm / (value + 1e-6));
  coefficient.as<double>()[0] = std::isfinite(value) ? clipped : std::nan("");
}

}  // namespace lockstep::kernels::cpu
