#include <cmath>

#include "base/thread_pool.h"
#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/rope.h"

namespace lockstep::kernels::cpu {
namespace {

constexpr int64_t kTokensPerTask = 32;

// x[i], x[i + P] of one head, for all P pairs.
template <typename T, typename Angle>
void RotateHead(T* x, const Angle* table, int64_t pairs, T direction) {
  for (int64_t i = 0; i < pairs; ++i) {
    const T cosine = static_cast<T>(table[2 * i]);
    const T sine = direction * static_cast<T>(table[2 * i + 1]);
    const T a = x[i], b = x[i + pairs];
    x[i] = cosine * a - sine * b;
    x[i + pairs] = cosine * b + sine * a;
  }
}

}  // namespace

void RopeTable(const Stream& stream, const View& positions, const View& inv_freq, const View& row,
               double attention_factor, const View& table) {
  const int64_t pairs = inv_freq.shape[1];
  DispatchFloat(table.dtype, [&](auto zero) {
    using T = decltype(zero);
    ParallelForRange(positions.shape[0], kTokensPerTask, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const int64_t r = row.data == nullptr ? 0 : row.as<int32_t>()[t];
        CHECK(0 <= r && r < inv_freq.shape[0]) << "[rope_table] row of token " << t << ": " << r;
        const T position = static_cast<T>(positions.as<int32_t>()[t]);
        for (int64_t i = 0; i < pairs; ++i) {
          const T angle = position * inv_freq.as<T>()[r * pairs + i];
          T* out = table.as<T>() + (t * pairs + i) * 2;
          out[0] = static_cast<T>(attention_factor) * static_cast<T>(std::cos(double{angle}));
          out[1] = static_cast<T>(attention_factor) * static_cast<T>(std::sin(double{angle}));
        }
      }
    });
  });
}

void Rope(const Stream& stream, const View& x, const View& table, int direction) {
  const int64_t heads = x.shape[1], pairs = table.shape[1];
  DispatchFloat(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    DispatchFloat(table.dtype, [&](auto angle_zero) {
      using Angle = decltype(angle_zero);
      ParallelForRange(x.shape[0], kTokensPerTask, [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
          for (int64_t n = 0; n < heads; ++n) {
            RotateHead(x.as<T>() + t * x.stride[0] + n * x.stride[1],
                       table.as<Angle>() + t * pairs * 2, pairs, static_cast<T>(direction));
          }
        }
      });
    });
  });
}

}  // namespace lockstep::kernels::cpu
