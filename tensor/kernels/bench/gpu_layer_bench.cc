// Rates of what a layer does between products and attention, on a GPU, in bf16: GB/s of what it
// must read and write, and the share of a device copy's rate, measured here. A figure is of a row
// of launches that fills some 10 ms; in a step the GPU's clock may be lower.
//   bazel run //tools:bench -- --kernels=gpu/layer

#include <functional>
#include <string>
#include <utility>

#include "tensor/kernels/add_rms_norm.h"
#include "tensor/kernels/bench/gpu.h"
#include "tensor/kernels/dropout.h"
#include "tensor/kernels/dropout_mask.h"
#include "tensor/kernels/gemm.h"
#include "tensor/kernels/glu.h"
#include "tensor/kernels/glu_lora.h"
#include "tensor/kernels/rms_norm.h"
#include "tensor/kernels/rope.h"

namespace lockstep::kernels {
namespace {

constexpr double kRow = 2.0 * kTokens * kWidth, kWide = 2.0 * kTokens * kFfn;  // bytes of [T, ·]

void Bytes(const std::string& what, double bytes, std::function<std::function<void()>()> make) {
  RegisterOnGpu("layer/" + what, Work::kBytes, bytes, std::move(make));
}

// An adapter's share; its h are kRank columns of `h` from `column` on.
LoraShare Share(const View& h, int64_t column, const View& b) {
  LoraShare share;
  share.h = h.Slice(1, column, column + kRank);
  share.b = b;
  return share;
}

// Between two blocks: as it is, and with Gemma's norm behind the branch.
void RegisterAddRmsNorm() {
  const auto line = [](const std::string& what, bool post) {
    Bytes(what, 4 * kRow, [=] {
      const Tensor residual = Random(kHalf, {kTokens, kWidth}),
                   branch = Random(kHalf, {kTokens, kWidth}), w = Random(kHalf, {kWidth}),
                   sum = Empty(kHalf, {kTokens, kWidth}), y = Empty(kHalf, {kTokens, kWidth}),
                   rstd = Empty(DType::kF32, {kTokens}), post_rstd = Empty(DType::kF32, {kTokens});
      const RmsNormOptions options = {1e-6, post ? NormForm::kGemma : NormForm::kLlama};
      return [=] {
        AddRmsNorm(OnGpu(), residual, branch, post ? w.view() : View(), w, options, sum, y, rstd,
                   post ? post_rstd.view() : View());
      };
    });
  };
  line("add_rms_norm", false);
  line("add_rms_norm_post", true);
}

void RegisterNorms() {
  Bytes("rms_norm", 2 * kRow, [] {
    const Tensor x = Random(kHalf, {kTokens, kWidth}), w = Random(kHalf, {kWidth}),
                 y = Empty(kHalf, {kTokens, kWidth}), rstd = Empty(DType::kF32, {kTokens});
    return [=] { RmsNorm(OnGpu(), x, w, {}, y, rstd); };
  });
  Bytes("rms_norm_again", 2 * kRow, [] {
    const Tensor x = Random(kHalf, {kTokens, kWidth}), w = Random(kHalf, {kWidth}),
                 y = Empty(kHalf, {kTokens, kWidth}), rstd = Random(DType::kF32, {kTokens});
    return [=] { RmsNormAgain(OnGpu(), x, w, rstd, {}, y); };
  });
  const auto backward = [](const std::string& what, double rows, bool weight) {
    Bytes(what, rows * kRow, [=] {
      const Tensor dy = Random(kHalf, {kTokens, kWidth}), x = Random(kHalf, {kTokens, kWidth}),
                   w = Random(kHalf, {kWidth}), rstd = Random(DType::kF32, {kTokens}),
                   addend = Random(kHalf, {kTokens, kWidth}), dx = Empty(kHalf, {kTokens, kWidth}),
                   dw = Empty(DType::kF32, {kWidth}),
                   partials = Empty(DType::kF32, {RmsNormPartials(kTokens, kWidth), kWidth});
      return [=] {
        RmsNormBackward(OnGpu(), dy, x, w, rstd, {}, addend, dx, weight ? dw.view() : View(), false,
                        partials);
      };
    });
  };
  backward("rms_norm_backward", 4, false);
  backward("rms_norm_backward_weight", 6, true);  // in two passes
}

// What rotates: the q and k heads of merged q, k, v.
constexpr int64_t kRotated = kHeads + kKvHeads, kMerged = (kRotated + kKvHeads) * kHeadDim;
constexpr double kRotatedBytes = 2.0 * kTokens * kRotated * kHeadDim;

// On slices of merged q, k, v, in place.
void RegisterHeads() {
  Bytes("head_norm", 2 * kRotatedBytes, [] {
    const Tensor qkv = Random(kHalf, {kTokens, kMerged}), w = Random(kHalf, {kHeadDim}),
                 rstd = Empty(DType::kF32, {kTokens, kRotated});
    const View heads = HeadsOf(qkv, 0, kRotated, kHeadDim);
    return [=, keep = qkv] { RmsNorm(OnGpu(), heads, w, {}, heads, rstd); };
  });
  Bytes("head_norm_backward", 3 * kRotatedBytes, [] {
    const Tensor qkv = Random(kHalf, {kTokens, kMerged}), dqkv = Random(kHalf, {kTokens, kMerged}),
                 w = Random(kHalf, {kHeadDim}), rstd = Zeros(DType::kF32, {kTokens, kRotated});
    const View x = HeadsOf(qkv, 0, kRotated, kHeadDim), dx = HeadsOf(dqkv, 0, kRotated, kHeadDim);
    return [=, keep = std::pair(qkv, dqkv)] {
      RmsNormBackward(OnGpu(), dx, x, w, rstd, {}, View{}, dx, View{}, false, View{});
    };
  });
  Bytes("rope", 2 * kRotatedBytes + 4.0 * kTokens * kHeadDim, [] {
    const Tensor qkv = Random(kHalf, {kTokens, kMerged}),
                 table = Random(DType::kF32, {kTokens, kHeadDim / 2, 2});
    const View heads = HeadsOf(qkv, 0, kRotated, kHeadDim);
    return [=, keep = qkv] { Rope(OnGpu(), heads, table, 1); };
  });
}

// A mask of [T, width].
DropoutMask Mask(const Tensor& bits) { return {bits, 0.1}; }
Tensor Bits(int64_t width) {
  const Tensor bits = Empty(DType::kU8, {kTokens, DropoutMaskBytes(width)});
  DrawDropout(OnGpu(), Zeros(DType::kI64, {kTokens}), 1, Mask(bits));
  return bits;
}

// Gated units with LoRA's narrow products, whose bytes and masks do not count; and alone.
void RegisterGluLora(const std::string& name, GluActivation activation, bool dropped) {
  Bytes(name, 3 * kWide, [=] {
    const Tensor x = Random(kHalf, {kTokens, 2 * kFfn}), y = Empty(kHalf, {kTokens, kFfn}),
                 h = Random(kHalf, {kTokens, 2 * kRank}), b = Random(kHalf, {kFfn, kRank}),
                 a = Random(kHalf, {kRank, kFfn}), next = Empty(kHalf, {kTokens, kRank}),
                 scratch = Empty(DType::kF32, {GluLoraScratch(kTokens, kFfn, kRank)}),
                 bits = Bits(kFfn);
    return [=] {
      GluLora(OnGpu(), x, Share(h, 0, b), Share(h, kRank, b), activation,
              dropped ? Mask(bits) : DropoutMask{}, y, {next, Transposed(a)}, scratch);
    };
  });
  Bytes(name + "_backward", 5 * kWide, [=] {
    const Tensor x = Random(kHalf, {kTokens, 2 * kFfn}), dy = Random(kHalf, {kTokens, kFfn}),
                 h = Random(kHalf, {kTokens, 2 * kRank}), b = Random(kHalf, {kFfn, kRank}),
                 g = Random(kHalf, {kTokens, kRank}), a = Random(kHalf, {kRank, kFfn}),
                 dh = Empty(kHalf, {kTokens, 2 * kRank}),
                 db = Empty(DType::kF32, {2 * kFfn, kRank}), da = Empty(DType::kF32, {kRank, kFfn}),
                 scratch = Empty(DType::kF32, {GluLoraScratch(kTokens, kFfn, kRank)}),
                 bits = Bits(kFfn);
    return [=] {
      GluLoraGradients gradients;
      gradients.gate = {dh.view().Slice(1, 0, kRank), db.view().Slice(0, 0, kFfn), false};
      gradients.up = {dh.view().Slice(1, kRank, 2 * kRank), db.view().Slice(0, kFfn, 2 * kFfn),
                      false};
      gradients.dy_db = Transposed(da);
      GluLoraBackward(OnGpu(), dy, Share(g, 0, Transposed(a)), x, Share(h, 0, b),
                      Share(h, kRank, b), activation, dropped ? Mask(bits) : DropoutMask{},
                      gradients, scratch);
    };
  });
}

void RegisterGlu(const std::string& name, GluActivation activation) {
  Bytes(name, 3 * kWide, [=] {
    const Tensor x = Random(kHalf, {kTokens, 2 * kFfn}), y = Empty(kHalf, {kTokens, kFfn});
    return [=] { Glu(OnGpu(), x, activation, y); };
  });
  Bytes(name + "_backward", 5 * kWide, [=] {
    const Tensor x = Random(kHalf, {kTokens, 2 * kFfn}), dy = Random(kHalf, {kTokens, kFfn}),
                 dx = Empty(kHalf, {kTokens, 2 * kFfn});
    return [=] { GluBackward(OnGpu(), dy, x, activation, dx); };
  });
  RegisterGluLora(name + "_lora", activation, false);
}

void RegisterDropout() {
  const auto line = [](const std::string& what, bool accumulate) {
    Bytes(what, (accumulate ? 3 : 2) * kRow, [=] {
      const Tensor x = Random(kHalf, {kTokens, kWidth}), y = Zeros(kHalf, {kTokens, kWidth}),
                   keys = Zeros(DType::kI64, {kTokens});
      return [=] { Dropout(OnGpu(), x, keys, y, {.p = 0.1, .key = 1, .accumulate = accumulate}); };
    });
  };
  line("dropout", false);
  line("dropout_backward", true);
  Bytes("dropout_mask", kRow / 16, [] {
    const Tensor keys = Zeros(DType::kI64, {kTokens}), bits = Bits(kWidth);
    return [=] { DrawDropout(OnGpu(), keys, 1, Mask(bits)); };
  });
}

const bool registered = [] {
  RegisterAddRmsNorm();
  RegisterNorms();
  RegisterHeads();
  RegisterGlu("swiglu", GluActivation::kSilu);
  RegisterGlu("geglu", GluActivation::kGeluTanh);
  RegisterGluLora("swiglu_lora_dropped", GluActivation::kSilu, true);
  RegisterDropout();
  return true;
}();

}  // namespace
}  // namespace lockstep::kernels
