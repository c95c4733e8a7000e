#include <algorithm>

#include "base/thread_pool.h"
#include "tensor/kernels/add_rms_norm.h"
#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels::cpu {

// The definition, step by step.
void AddRmsNorm(const Stream& stream, const View& residual, const View& branch, const View& post_w,
                const View& w, const RmsNormOptions& options, const View& sum, const View& y,
                const View& rstd, const View& post_rstd) {
  const int64_t width = residual.shape[1];
  if (post_w.data != nullptr) {
    kernels::RmsNorm(stream, branch, post_w, options, y, post_rstd);
  }
  const View& added = post_w.data != nullptr ? y : branch;
  DispatchFloat(residual.dtype, [&](auto zero) {
    using T = decltype(zero);
    ParallelForRange(residual.numel(), 32 * std::max<int64_t>(1, width),
                     [&](int64_t begin, int64_t end) {
                       for (int64_t i = begin; i < end; ++i) {
                         sum.as<T>()[i] = residual.as<T>()[i] + added.as<T>()[i];
                       }
                     });
  });
  kernels::RmsNorm(stream, sum, w, options, y, rstd);
}

}  // namespace lockstep::kernels::cpu
