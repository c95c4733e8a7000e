#include <cmath>

#include "tensor/kernels/adamw.h"
#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/fixed_point.h"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

template <typename P>
struct Constants {
  P beta1, beta2, eps, decay, step_size, root_correction;
  double unit;  // of the gradient
};

// One thread an element: reads gradient, param, m, v; writes param, m, v and the image.
template <typename G, typename P>
__global__ void AdamWKernel(const G* __restrict__ gradient, const double* coefficient,
                            const int64_t* overflow, Constants<P> c, int64_t begin, int64_t end,
                            P* __restrict__ param, P* __restrict__ m, P* __restrict__ v,
                            bf16* __restrict__ image) {
  WaitForPredecessors();
  const int64_t i = begin + static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= end || *overflow != 0 || isnan(*coefficient)) return;
  const P g = static_cast<P>(static_cast<double>(gradient[i]) * c.unit * *coefficient);
  const P p = param[i] * c.decay;
  const P mean = m[i] + (1 - c.beta1) * (g - m[i]);
  const P square = c.beta2 * v[i] + (1 - c.beta2) * g * g;
  const P updated = p - c.step_size * mean / (sqrt(square) / c.root_correction + c.eps);
  param[i] = updated;
  m[i] = mean;
  v[i] = square;
  if (image != nullptr) image[i] = __float2bfloat16_rn(static_cast<float>(updated));
}

template <typename G, typename P>
void Launch(const Stream& stream, const View& gradient, double unit, const View& coefficient,
            const View& overflow, const AdamWOptions& options, const AdamWRanges& ranges,
            const View& param, const View& m, const View& v, const View& image) {
  const double steps = static_cast<double>(options.step);
  const double correction1 = 1 - std::pow(options.beta1, steps);
  const double correction2 = 1 - std::pow(options.beta2, steps);
  for (int64_t i = 0; i < ranges.size; ++i) {
    const AdamWRange& range = ranges.data[i];
    if (range.begin >= range.end) continue;
    const Constants<P> constants = {static_cast<P>(options.beta1),
                                    static_cast<P>(options.beta2),
                                    static_cast<P>(options.eps),
                                    static_cast<P>(1 - range.lr * range.weight_decay),
                                    static_cast<P>(range.lr / correction1),
                                    static_cast<P>(std::sqrt(correction2)),
                                    unit};
    StartKernel(AdamWKernel<G, P>, {Blocks(range.end - range.begin, 256), 256}, stream,
                gradient.as<G>(), coefficient.as<double>(), overflow.as<int64_t>(), constants,
                range.begin, range.end, param.as<P>(), m.as<P>(), v.as<P>(), image.as<bf16>());
  }
}

}  // namespace

void AdamW(const Stream& stream, const View& gradient, const View& coefficient,
           const View& overflow, const AdamWOptions& options, const AdamWRanges& ranges,
           const View& param, const View& m, const View& v, const View& image) {
  const auto launch = [&](auto* g, auto* p, double unit) {
    Launch<std::remove_pointer_t<decltype(g)>, std::remove_pointer_t<decltype(p)>>(
        stream, gradient, unit, coefficient, overflow, options, ranges, param, m, v, image);
  };
  const auto with_param = [&](auto* g, double unit) {
    if (param.dtype == DType::kF64) {
      launch(g, static_cast<double*>(nullptr), unit);
    } else {
      launch(g, static_cast<float*>(nullptr), unit);
    }
  };
  if (gradient.dtype == DType::kI64) {
    with_param(static_cast<int64_t*>(nullptr), std::ldexp(1.0, -kGradientFractionBits));
  } else if (gradient.dtype == DType::kF64) {
    with_param(static_cast<double*>(nullptr), 1.0);
  } else {
    with_param(static_cast<float*>(nullptr), 1.0);
  }
}

}  // namespace lockstep::kernels::cuda
