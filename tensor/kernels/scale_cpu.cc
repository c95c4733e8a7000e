#include "base/thread_pool.h"
#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/scale.h"

namespace lockstep::kernels::cpu {

void Scale(const Stream& stream, const View& x, const View& factor, bool accumulate,
           const View& y) {
  DispatchFloat(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T scale = static_cast<T>(factor.as<double>()[0]);
    ParallelForRange(x.numel(), 1 << 15, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const T scaled = scale * x.as<T>()[i];
        y.as<T>()[i] = accumulate ? y.as<T>()[i] + scaled : scaled;
      }
    });
  });
}

}  // namespace lockstep::kernels::cpu
