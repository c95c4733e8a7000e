#include <cmath>
#include <limits>

#include "base/thread_pool.h"
#include "tensor/kernels/cpu/math.h"
#include "tensor/kernels/cross_entropy.h"
#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels::cpu {
namespace {

// l becomes the gradient by the logits, given Σ exp(l − largest).
template <typename T>
void Gradient(T* l, int64_t vocab, int32_t target, T largest, double sum,
              const CrossEntropyOptions& options) {
  const T factor = static_cast<T>(options.grad_scale / sum);
  const T hit = static_cast<T>(options.grad_scale), cap = static_cast<T>(options.softcap);
  const T l_target = l[target];
  const T at_target = factor * Exp(l_target - largest) - hit;
  const auto slope = [cap](T capped) { return T{1} - (capped / cap) * (capped / cap); };
  if (cap > 0) {
    for (int64_t v = 0; v < vocab; ++v) l[v] = factor * Exp(l[v] - largest) * slope(l[v]);
    l[target] = at_target * slope(l_target);
  } else {
    for (int64_t v = 0; v < vocab; ++v) l[v] = factor * Exp(l[v] - largest);
    l[target] = at_target;
  }
}

template <typename T>
double Row(T* l, int64_t vocab, int32_t target, const CrossEntropyOptions& options) {
  if (options.softcap > 0) {
    const T cap = static_cast<T>(options.softcap);
    for (int64_t v = 0; v < vocab; ++v) l[v] = cap * Tanh(l[v] / cap);
  }
  const T largest = MaxOf(l, vocab, -std::numeric_limits<T>::infinity());
  const double sum = SumOf<double>(vocab, [=](int64_t v) { return Exp(l[v] - largest); });
  const double nll = std::log(sum) + (largest - l[target]);
  if (options.gradient) Gradient(l, vocab, target, largest, sum, options);
  return nll;
}

}  // namespace

void CrossEntropy(const Stream& stream, const View& logits, const View& targets, const View& nll,
                  const CrossEntropyOptions& options) {
  const int64_t vocab = logits.shape[1];
  DispatchFloat(logits.dtype, [&](auto zero) {
    using T = decltype(zero);
    ParallelFor(logits.shape[0], [&](int64_t s) {
      const int32_t target = targets.as<int32_t>()[s];
      CHECK(target >= 0 && target < vocab) << "[cross_entropy] targets[" << s << "]: want one of "
                                           << vocab << " tokens, got " << target;
      nll.as<double>()[s] = Row(logits.as<T>() + s * logits.stride[0], vocab, target, options);
    });
  });
}

}  // namespace lockstep::kernels::cpu
