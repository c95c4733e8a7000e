#include <atomic>
#include <cmath>

#include "base/thread_pool.h"
#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/fixed_point.h"

namespace lockstep::kernels::cpu {
namespace {

constexpr int64_t kGrain = 1 << 14;

}  // namespace

void AddFixedPoint(const Stream& stream, const View& x, int fraction_bits, int64_t max_terms,
                   const View& sum, const View& overflow) {
  const double scale = std::ldexp(1.0, fraction_bits), limit = FixedPointLimit(max_terms);
  std::atomic<int64_t> refused{0};
  DispatchFloat(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    ParallelForRange(x.shape[0], kGrain, [&](int64_t begin, int64_t end) {
      int64_t bad = 0;
      for (int64_t i = begin; i < end; ++i) {
        const double scaled = static_cast<double>(x.as<T>()[i]) * scale;
        const bool fits = std::abs(scaled) <= limit;  // false for NaN
        sum.as<int64_t>()[i] += static_cast<int64_t>(std::nearbyint(fits ? scaled : 0.0));
        bad += fits ? 0 : 1;
      }
      if (bad != 0) refused += bad;
    });
  });
  overflow.as<int64_t>()[0] += refused;
}

void FromFixedPoint(const Stream& stream, const View& sum, int fraction_bits, const View& y) {
  const double quantum = std::ldexp(1.0, -fraction_bits);
  DispatchFloat(y.dtype, [&](auto zero) {
    using T = decltype(zero);
    ParallelForRange(y.shape[0], kGrain, [&](int64_t begin, int64_t end) {
      // From the integer to T in one rounding; the power of two is exact.
      for (int64_t i = begin; i < end; ++i) {
        y.as<T>()[i] = static_cast<T>(sum.as<int64_t>()[i]) * static_cast<T>(quantum);
      }
    });
  });
}

}  // namespace lockstep::kernels::cpu
