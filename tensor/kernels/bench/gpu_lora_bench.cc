// Rates of LoRA's passes over wide tensors; see gpu_bench.cc.

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tensor/kernels/bench/gpu.h"
#include "tensor/kernels/dropped_lora.h"
#include "tensor/kernels/lora_gradients.h"
#include "tensor/kernels/normed_product.h"
#include "tensor/kernels/rope_lora.h"

namespace lockstep::kernels {
namespace {

constexpr double kRow = 2.0 * kTokens * kWidth;  // bytes of [T, C]

// An adapter's share; its h are kRank columns of `h` from `column` on.
LoraShare Share(const View& h, int64_t column, const View& b) {
  return {h.Slice(1, column, column + kRank), b, 1};
}

void Bytes(const std::string& what, double bytes, std::function<std::function<void()>()> make) {
  RegisterOnGpu("lora/" + what, Work::kBytes, bytes, std::move(make));
}

void RegisterLoraGradients() {
  const int64_t kv = kKvHeads * kHeadDim;
  for (const auto& widths : {std::vector<int64_t>{kWidth}, {kWidth, kv, kv}}) {
    int64_t width = 0;
    for (const int64_t n : widths) width += n;
    Bytes("lora_gradients/" + std::to_string(width), 2.0 * kTokens * width, [=] {
      const int64_t ranks = kRank * static_cast<int64_t>(widths.size());
      const Tensor d = Random(kHalf, {kTokens, width}), h = Random(kHalf, {kTokens, ranks}),
                   b = Random(kHalf, {width, kRank}), dh = Empty(kHalf, {kTokens, ranks}),
                   db = Empty(DType::kF32, {width, kRank});
      std::vector<LoraPart> parts;
      for (int64_t first = 0, column = 0; const int64_t n : widths) {
        parts.push_back(
            {first,
             Share(h, column, b.view().Slice(0, first, first + n)),
             {dh.view().Slice(1, column, column + kRank), db.view().Slice(0, first, first + n)}});
        first += n, column += kRank;
      }
      const Tensor scratch = Empty(DType::kF32, {LoraGradientsScratch(kTokens, parts)});
      return [=] { LoraGradients(OnGpu(), d, parts, scratch); };
    });
  }
}

void RegisterNormedProduct() {
  for (const int64_t rank : {2 * kRank, 3 * kRank}) {
    Bytes("normed_product/" + std::to_string(rank), kRow, [=] {
      const Tensor x = Random(kHalf, {kTokens, kWidth}), w = Random(kHalf, {kWidth}),
                   rstd = Random(DType::kF32, {kTokens}), g = Random(kHalf, {kTokens, rank}),
                   da = Empty(DType::kF32, {rank, kWidth}),
                   scratch = Empty(DType::kF32, {NormedProductScratch(kTokens, kWidth, rank)});
      return [=] { NormedProduct(OnGpu(), g, {x, w, rstd, {}}, da, false, scratch); };
    });
  }
}

void RegisterRopeLora() {
  constexpr int64_t kAll = kHeads + 2 * kKvHeads;
  Bytes("rope_lora", 2 * 2.0 * kTokens * kAll * kHeadDim + 4.0 * kTokens * kHeadDim, [] {
    const Tensor qkv = Random(kHalf, {kTokens, kAll, kHeadDim}),
                 table = Random(DType::kF32, {kTokens, kHeadDim / 2, 2}),
                 h = Random(kHalf, {kTokens, 3 * kRank}), b = Random(kHalf, {kWidth, kRank}),
                 b_kv = Random(kHalf, {kKvHeads * kHeadDim, kRank});
    return [=] {
      RopeLora(OnGpu(), qkv,
               {{kHeads, Share(h, 0, b)},
                {kKvHeads, Share(h, kRank, b_kv)},
                {kKvHeads, Share(h, 2 * kRank, b_kv)}},
               kHeads + kKvHeads, table);
    };
  });
}

void RegisterDropped() {
  for (const int64_t adapters : {1, 2, 3}) {
    const auto line = [=](const std::string& what, auto run) {
      Bytes("dropped_" + what + "/" + std::to_string(adapters), kRow + adapters * kRow / 16, [=] {
        const Tensor x = Random(kHalf, {kTokens, kWidth}),
                     h = Random(kHalf, {kTokens, kRank * adapters}),
                     a = Random(kHalf, {kRank * adapters, kWidth}),
                     da = Empty(DType::kF32, {kRank * adapters, kWidth}),
                     keys = Zeros(DType::kI64, {kTokens}),
                     bits = Empty(DType::kU8, {kTokens, DropoutMaskBytes(kWidth)}),
                     scratch = Empty(DType::kF32, {DroppedGradientsScratch(kTokens, kWidth)});
        std::vector<DroppedPart> parts;
        for (int64_t i = 0; i < adapters; ++i) {
          const int64_t begin = i * kRank, end = begin + kRank;
          const DropoutMask mask = {bits, 0.1};
          DrawDropout(OnGpu(), keys, i, mask);
          parts.push_back({a.view().Slice(0, begin, end), h.view().Slice(1, begin, end), mask,
                           da.view().Slice(0, begin, end), false});
        }
        return [=, keep = std::vector<Tensor>{h, a, da, bits}] { run(x, parts, scratch); };
      });
    };
    line("inputs", [](const Tensor& x, const auto& parts, const Tensor&) {
      DroppedInputs(OnGpu(), x, parts);
    });
    line("gradients", [](const Tensor& x, const auto& parts, const Tensor& scratch) {
      DroppedGradients(OnGpu(), {.x = x}, parts, scratch);
    });
    line("shares", [](const Tensor& x, const auto& parts, const Tensor&) {
      DroppedShares(OnGpu(), parts, false, x);
    });
  }
}

const bool registered = [] {
  RegisterLoraGradients();
  RegisterNormedProduct();
  RegisterRopeLora();
  RegisterDropped();
  return true;
}();

}  // namespace
}  // namespace lockstep::kernels
