// Rates of the passes before the first layer, behind the last one and over flat buffers, on a GPU:
// GB/s of what they must read and write, and the share of a device copy's rate, measured here.
//   bazel run //tools:bench -- --kernels=gpu/ends   (or gpu/flat)

#include <functional>
#include <string>
#include <utility>

#include "tensor/kernels/accumulate.h"
#include "tensor/kernels/adamw.h"
#include "tensor/kernels/bench/gpu.h"
#include "tensor/kernels/cast.h"
#include "tensor/kernels/column_sum.h"
#include "tensor/kernels/cross_entropy.h"
#include "tensor/kernels/embedding.h"
#include "tensor/kernels/fill.h"
#include "tensor/kernels/fixed_point.h"
#include "tensor/kernels/norm.h"
#include "tensor/kernels/scale.h"
#include "tensor/kernels/softcap.h"

namespace lockstep::kernels {
namespace {

constexpr double kRow = 2.0 * kTokens * kWidth, kLogits = 2.0 * kHeadRows * kVocab;  // bytes

void Bytes(const std::string& what, double bytes, std::function<std::function<void()>()> make) {
  RegisterOnGpu(what, Work::kBytes, bytes, std::move(make));
}

void RegisterEmbedding() {
  const auto line = [](const std::string& what, double scale) {
    Bytes(what, 2 * kRow, [=] {
      const Tensor ids = Indices(kTokens, kVocab), table = Random(kHalf, {kVocab, kWidth}),
                   y = Empty(kHalf, {kTokens, kWidth});
      return [=] { Embedding(OnGpu(), ids, table, scale, y); };
    });
  };
  line("ends/embedding", 1);
  line("ends/embedding_scaled", 64);
  // As the head takes supervised rows out of hidden states, and brings their gradients back.
  Bytes("ends/gather", 2 * kRow, [] {
    const Tensor rows = Indices(kTokens, kTokens), x = Random(kHalf, {kTokens, kWidth}),
                 y = Empty(kHalf, {kTokens, kWidth});
    return [=] { Embedding(OnGpu(), rows, x, 1, y); };
  });
  Bytes("ends/scatter", 3 * kRow, [] {
    const Tensor rows = Indices(kTokens, kTokens), dx = Zeros(kHalf, {kTokens, kWidth}),
                 dy = Random(kHalf, {kTokens, kWidth});
    return [=] { EmbeddingBackward(OnGpu(), rows, dy, 1, /*accumulate=*/true, dx); };
  });
}

void RegisterLoss() {
  const auto line = [](const std::string& what, double softcap) {
    Bytes(what, 2 * kLogits, [=] {
      const Tensor logits = Random(kHalf, {kHeadRows, kVocab}),
                   targets = Indices(kHeadRows, kVocab), nll = Empty(DType::kF64, {kHeadRows});
      return [=] {
        CrossEntropy(OnGpu(), logits, targets, nll, {.softcap = softcap, .gradient = true});
      };
    });
  };
  line("ends/cross_entropy", 0);
  line("ends/cross_entropy_softcap", 30);
  Bytes("ends/softcap", 2 * kLogits, [] {
    const Tensor logits = Random(kHalf, {kHeadRows, kVocab});
    return [=] { Softcap(OnGpu(), logits, 30, logits); };
  });
}

void RegisterHalves() {
  Bytes("flat/fill", kRow, [] {
    const Tensor y = Empty(kHalf, {kTokens, kWidth});
    return [=] { Fill(OnGpu(), y, 0.0); };
  });
  Bytes("flat/scale", 2 * kRow, [] {
    const Tensor x = Random(kHalf, {kTokens, kWidth}), factor = Zeros(DType::kF64, {1});
    return [=] { Scale(OnGpu(), x, factor, /*accumulate=*/false, x); };
  });
  Bytes("flat/accumulate", 3 * kRow, [] {
    const Tensor x = Random(kHalf, {kTokens, kWidth}), y = Zeros(kHalf, {kTokens, kWidth});
    return [=] { Accumulate(OnGpu(), x, y); };
  });
  Bytes("flat/column_sum", kRow, [] {
    const Tensor x = Random(kHalf, {kTokens, kWidth}), y = Empty(DType::kF32, {kWidth});
    return [=] { ColumnSum(OnGpu(), x, /*accumulate=*/false, y); };
  });
}

// Passes over the flat buffers of 42 M trainable values.
void RegisterFlat() {
  Bytes("flat/add_fixed_point", 20.0 * kFlat, [] {
    const Tensor x = Random(DType::kF32, {kFlat}), sum = Zeros(DType::kI64, {kFlat}),
                 overflow = Zeros(DType::kI64, {1});
    return [=] { AddFixedPoint(OnGpu(), x, 20, 1000000, sum, overflow); };
  });
  Bytes("flat/norm_i64", 8.0 * kFlat, [] {
    const Tensor x = Zeros(DType::kI64, {kFlat}), norm = Empty(DType::kF64, {1}),
                 partials = Empty(DType::kF64, {NormPartials(kFlat)});
    return [=] { Norm(OnGpu(), x, norm, partials); };
  });
  Bytes("flat/adamw_i64", 34.0 * kFlat, [] {
    const Tensor g = Zeros(DType::kI64, {kFlat}), coefficient = Zeros(DType::kF64, {1}),
                 overflow = Zeros(DType::kI64, {1}), p = Random(DType::kF32, {kFlat}),
                 m = Zeros(DType::kF32, {kFlat}), v = Zeros(DType::kF32, {kFlat}),
                 image = Empty(kHalf, {kFlat});
    return [=] {
      const AdamWRange range = {0, kFlat, 1e-4, 0.01};
      AdamW(OnGpu(), g, coefficient, overflow, {}, {&range, 1}, p, m, v, image);
    };
  });
  Bytes("flat/cast_f32_bf16", 6.0 * kFlat, [] {
    const Tensor x = Random(DType::kF32, {kFlat}), y = Empty(kHalf, {kFlat});
    return [=] { Cast(OnGpu(), x, y); };
  });
}

const bool registered = [] {
  RegisterEmbedding();
  RegisterLoss();
  RegisterHalves();
  RegisterFlat();
  return true;
}();

}  // namespace
}  // namespace lockstep::kernels
