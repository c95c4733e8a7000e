// Rates in FP8 on a GPU: quantizing activations (GB/s, and the share of a device copy's rate) and
// products of codes (TFLOP/s), at the shapes of gpu.h.
//   bazel run //tools:bench -- --kernels=gpu/fp8

#include <string>

#include "tensor/kernels/bench/gpu.h"
#include "tensor/kernels/fp8_gemm.h"
#include "tensor/kernels/quantized.h"

namespace lockstep::kernels {
namespace {

void RegisterQuantize() {
  for (const bool has_factors : {false, true}) {
    for (const int64_t width : {kWidth, (kHeads + 2 * kKvHeads) * kHeadDim, kFfn, 2 * kFfn}) {
      const std::string what = "fp8/quantize/" + std::to_string(width);
      RegisterOnGpu(
          has_factors ? what + "/factors" : what, Work::kBytes, 3.0 * kTokens * width, [=] {
            const Tensor x = Random(kHalf, {kTokens, width}),
                         factors = Random(DType::kF32, {width});
            const Quantized to(*Gpu(), x);
            return [=] { QuantizeRows(OnGpu(), x, has_factors ? factors.view() : View{}, to); };
          });
    }
  }
}

void RegisterProducts() {
  const auto product = [](const std::string& what, int64_t n, int64_t k, double beta) {
    RegisterOnGpu("fp8/gemm/" + what, Work::kOperations, 2.0 * kTokens * n * k, [=] {
      const Quantized a(*Gpu(), Random(kHalf, {kTokens, k})), b(*Gpu(), Random(kHalf, {n, k}));
      const Tensor c = Random(kHalf, {kTokens, n});
      return [=] { Fp8Gemm(OnGpu(), a, b, c, {.beta = beta}); };
    });
  };
  const auto layer = [&](const std::string& what, int64_t in, int64_t out) {
    product(what, out, in, 0);
    product(what + "_dx", in, out, 1);
  };
  layer("qkv", kWidth, (kHeads + 2 * kKvHeads) * kHeadDim);
  layer("o", kHeads * kHeadDim, kWidth);
  layer("gate_up", kWidth, 2 * kFfn);
  layer("down", kFfn, kWidth);
}

const bool registered = [] {
  RegisterQuantize();
  RegisterProducts();
  return true;
}();

}  // namespace
}  // namespace lockstep::kernels
