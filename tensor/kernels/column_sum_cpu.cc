#include <vector>

#include "base/thread_pool.h"
#include "tensor/kernels/column_sum.h"
#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels::cpu {

void ColumnSum(const Stream& stream, const View& x, bool accumulate, const View& y) {
  DispatchFloat(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    ParallelForRange(x.shape[1], 256, [&](int64_t begin, int64_t end) {
      std::vector<double> sums(end - begin, 0.0);
      for (int64_t t = 0; t < x.shape[0]; ++t) {
        const T* row = x.as<T>() + t * x.stride[0] + begin;
        for (int64_t n = 0; n < end - begin; ++n) sums[n] += row[n];
      }
      for (int64_t n = begin; n < end; ++n) {
        T& out = y.as<T>()[n];
        out = static_cast<T>(accumulate ? out + sums[n - begin] : sums[n - begin]);
      }
    });
  });
}

}  // namespace lockstep::kernels::cpu
