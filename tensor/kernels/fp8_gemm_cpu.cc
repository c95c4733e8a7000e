#include <vector>

#include "base/thread_pool.h"
#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/e4m3.h"
#include "tensor/kernels/fp8_gemm.h"
#include "tensor/kernels/gemm.h"

namespace lockstep::kernels::cpu {
namespace {

// x[t, c] = scales[t] · codes[t, c], rounded to f32.
class Decoded {
 public:
  explicit Decoded(const ScaledRows& x) : values_(x.codes.numel()) {
    const int64_t width = x.codes.shape[1];
    ParallelFor(x.codes.shape[0], [&](int64_t t) {
      const uint8_t* codes = x.codes.as<uint8_t>() + t * width;
      const float scale = x.scales.as<float>()[t];
      for (int64_t c = 0; c < width; ++c) values_[t * width + c] = scale * E4m3ToFloat(codes[c]);
    });
    view_ = MakeView(values_.data(), DType::kF32, x.codes.device, {x.codes.shape[0], width});
  }
  const View& view() const { return view_; }

 private:
  std::vector<float> values_;
  View view_;
};

}  // namespace

void Fp8Gemm(const Stream& stream, const ScaledRows& a, const ScaledRows& b, const View& c,
             const Fp8GemmOptions& options) {
  kernels::Gemm(stream, Decoded(a).view(), Transposed(Decoded(b).view()), c,
                {.beta = options.beta, .bias = options.bias});
}

}  // namespace lockstep::kernels::cpu
