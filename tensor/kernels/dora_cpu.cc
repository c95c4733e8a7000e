#include <algorithm>
#include <cmath>
#include <vector>

#include "base/thread_pool.h"
#include "tensor/kernels/cpu/convert.h"
#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/dora.h"

namespace lockstep::kernels::cpu {
namespace {

template <typename T>
T* Row(const View& x, int64_t t) {
  return x.as<T>() + t * x.stride[0];
}

}  // namespace

void DoraNorm(const Stream& stream, const View& w, const View& a, const View& b, double scale,
              const View& norm) {
  DispatchFloat(a.dtype, [&](auto zero) {
    using T = decltype(zero);
    ParallelForRange(w.shape[0], 8, [&](int64_t begin, int64_t end) {
      std::vector<T> of_w(w.shape[1]);
      std::vector<double> row(w.shape[1]);
      for (int64_t n = begin; n < end; ++n) {
        Convert(w, n * w.stride[0], w.shape[1], of_w.data());
        std::copy(of_w.begin(), of_w.end(), row.begin());
        for (int64_t r = 0; r < a.shape[0]; ++r) {
          const double factor = scale * Row<T>(b, n)[r];
          const T* ar = Row<T>(a, r);
          for (int64_t c = 0; c < w.shape[1]; ++c) row[c] += factor * ar[c];
        }
        double sum = 0;
        for (const double x : row) sum += x * x;
        norm.as<T>()[n] = static_cast<T>(std::sqrt(sum));
      }
    });
  });
}

void DoraForward(const Stream& stream, const View& x, const View& m, const View& norm,
                 const View& bias, const View& y) {
  DispatchFloat(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const int64_t columns = x.shape[1];
    std::vector<T> factor(columns), shift(columns, T{0});
    for (int64_t n = 0; n < columns; ++n) factor[n] = m.as<T>()[n] / norm.as<T>()[n];
    if (bias.rank != 0) Convert(bias, 0, columns, shift.data());
    ParallelForRange(x.shape[0], 16, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        for (int64_t n = 0; n < columns; ++n) {
          Row<T>(y, t)[n] = factor[n] * Row<T>(x, t)[n] + shift[n];
        }
      }
    });
  });
}

// A task owns columns: dm sums over all rows in order, before dx may overwrite dy.
void DoraBackward(const Stream& stream, const View& dy, const View& x, const View& m,
                  const View& norm, const View& dx, bool accumulate, const View& dm) {
  DispatchFloat(dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    ParallelForRange(dy.shape[1], 128, [&](int64_t begin, int64_t end) {
      std::vector<double> sums(end - begin, 0.0);
      std::vector<T> factor(end - begin);
      for (int64_t n = begin; n < end; ++n) factor[n - begin] = m.as<T>()[n] / norm.as<T>()[n];
      for (int64_t t = 0; t < dy.shape[0]; ++t) {
        const T* d = Row<T>(dy, t) + begin;
        const T* in = Row<T>(x, t) + begin;
        T* out = Row<T>(dx, t) + begin;
        for (int64_t i = 0; i < end - begin; ++i) {
          sums[i] += static_cast<double>(d[i]) * in[i];
          out[i] = factor[i] * d[i];
        }
      }
      for (int64_t n = begin; dm.rank != 0 && n < end; ++n) {
        const double sum = sums[n - begin] / norm.as<T>()[n];
        dm.as<T>()[n] = static_cast<T>(accumulate ? dm.as<T>()[n] + sum : sum);
      }
    });
  });
}

}  // namespace lockstep::kernels::cpu
