#include "base/thread_pool.h"
#include "tensor/kernels/accumulate.h"
#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels::cpu {

void Accumulate(const Stream& stream, const View& x, const View& y) {
  DispatchFloat(y.dtype, [&](auto zero) {
    using T = decltype(zero);
    ParallelForRange(y.numel(), 1 << 15, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) y.as<T>()[i] += x.as<T>()[i];
    });
  });
}

}  // namespace lockstep::kernels::cpu
