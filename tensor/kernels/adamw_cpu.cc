#include <cmath>

#include "base/thread_pool.h"
#include "tensor/half.h"
#include "tensor/kernels/adamw.h"
#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/fixed_point.h"

namespace lockstep::kernels::cpu {
namespace {

constexpr int64_t kGrain = 1 << 14;

// The numbers of one step that all elements of a range share, rounded to the parameters' type as
// torch rounds them.
template <typename T>
struct Step {
  Step(const AdamWOptions& options, const AdamWRange& range)
      : decay(static_cast<T>(1 - range.lr * range.weight_decay)),
        one_minus_beta1(static_cast<T>(1 - options.beta1)),
        beta2(static_cast<T>(options.beta2)),
        one_minus_beta2(static_cast<T>(1 - options.beta2)),
        eps(static_cast<T>(options.eps)) {
    const double t = static_cast<double>(options.step);
    step_size = static_cast<T>(range.lr / (1 - std::pow(options.beta1, t)));
    root_correction2 = static_cast<T>(std::sqrt(1 - std::pow(options.beta2, t)));
  }
  T decay, one_minus_beta1, beta2, one_minus_beta2, eps, step_size, root_correction2;
};

// `unit` is what a gradient of 1 stands for: quantum times clip coefficient.
template <typename T, typename G>
void Update(const Step<T>& step, const G* gradient, double unit, int64_t begin, int64_t end,
            T* param, T* m, T* v) {
  for (int64_t i = begin; i < end; ++i) {
    const T g = static_cast<T>(static_cast<double>(gradient[i]) * unit);
    const T decayed = param[i] * step.decay;
    m[i] += step.one_minus_beta1 * (g - m[i]);
    v[i] = step.beta2 * v[i] + step.one_minus_beta2 * g * g;
    const T denominator = std::sqrt(v[i]) / step.root_correction2 + step.eps;
    param[i] = decayed - step.step_size * (m[i] / denominator);
  }
}

template <typename T>
void UpdateChunk(const Step<T>& step, const View& gradient, double coefficient, int64_t begin,
                 int64_t end, const View& param, const View& m, const View& v) {
  T *p = param.as<T>(), *first = m.as<T>(), *second = v.as<T>();
  switch (gradient.dtype) {
    case DType::kF64:
      return Update(step, gradient.as<double>(), coefficient, begin, end, p, first, second);
    case DType::kF32:
      return Update(step, gradient.as<float>(), coefficient, begin, end, p, first, second);
    default:
      return Update(step, gradient.as<int64_t>(),
                    coefficient * std::ldexp(1.0, -kGradientFractionBits), begin, end, p, first,
                    second);
  }
}

}  // namespace

void AdamW(const Stream& stream, const View& gradient, const View& coefficient,
           const View& overflow, const AdamWOptions& options, const AdamWRanges& ranges,
           const View& param, const View& m, const View& v, const View& image) {
  if (overflow.as<int64_t>()[0] != 0 || std::isnan(coefficient.as<double>()[0])) return;
  DispatchFloat(param.dtype, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t r = 0; r < ranges.size; ++r) {
      const AdamWRange& range = ranges.data[r];
      const Step<T> step(options, range);
      ParallelForRange(range.end - range.begin, kGrain, [&](int64_t chunk, int64_t chunk_end) {
        const int64_t begin = range.begin + chunk, end = range.begin + chunk_end;
        UpdateChunk(step, gradient, coefficient.as<double>()[0], begin, end, param, m, v);
        if (image.data == nullptr) return;
        for (int64_t i = begin; i < end; ++i) {
          image.as<uint16_t>()[i] = FloatToBf16(static_cast<float>(param.as<T>()[i]));
        }
      });
    }
  });
}

}  // namespace lockstep::kernels::cpu
