#include "base/thread_pool.h"
#include "tensor/kernels/cpu/math.h"
#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/softcap.h"

namespace lockstep::kernels::cpu {

void Softcap(const Stream& stream, const View& x, double cap, const View& y) {
  DispatchFloat(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T limit = static_cast<T>(cap);
    ParallelForRange(x.numel(), 1 << 14, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) y.as<T>()[i] = limit * Tanh(x.as<T>()[i] / limit);
    });
  });
}

}  // namespace lockstep::kernels::cpu
