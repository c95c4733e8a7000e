// Bytes per second of what passes over memory once: norms, glu, rope, casts, embedding,
// cross-entropy, dropout, the optimizer's flat passes. The copy at the end is the rate to compare
// with.
//   bazel run --config=cpu //tools:bench -- --kernels=pointwise

#include <cstring>
#include <functional>
#include <string>

#include "base/thread_pool.h"
#include "benchmark/benchmark.h"
#include "tensor/kernels/adamw.h"
#include "tensor/kernels/add_rms_norm.h"
#include "tensor/kernels/bench/operands.h"
#include "tensor/kernels/cast.h"
#include "tensor/kernels/cross_entropy.h"
#include "tensor/kernels/dropout.h"
#include "tensor/kernels/embedding.h"
#include "tensor/kernels/fixed_point.h"
#include "tensor/kernels/glu.h"
#include "tensor/kernels/norm.h"
#include "tensor/kernels/rope.h"

namespace lockstep::kernels {
namespace {

constexpr int64_t kTokens = 1024, kWidth = 576, kFfn = 1536, kHeads = 12, kFlat = 1 << 22;

Tensor OfType(DType dtype, int64_t n) {
  const Tensor x = Tensor::Empty(BenchAllocator(), dtype, {n});
  std::memset(x.view().data, 0, x.view().num_bytes());
  return x;
}

// `make` prepares operands and returns the pass; `bytes` is what it reads and writes.
void Register(const char* what, double bytes, std::function<std::function<void()>()> make) {
  for (const int threads : {1, 4}) {
    const std::string name =
        std::string("pointwise/") + what + "/threads:" + std::to_string(threads);
    benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
      SetNumThreads(threads);
      const std::function<void()> pass = make();
      pass();
      for (auto _ : state) pass();
      state.counters["GB/s"] =
          benchmark::Counter(bytes * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
    })->UseRealTime();
  }
}

Tensor Indices(int64_t n, int64_t below) {
  const Tensor x = Tensor::Empty(BenchAllocator(), DType::kI32, {n});
  for (int64_t i = 0; i < n; ++i) x.view().as<int32_t>()[i] = static_cast<int32_t>(i * 37 % below);
  return x;
}

// What stands before the first layer and behind the last one, and dropout.
void RegisterEnds() {
  constexpr int64_t kVocab = 49152, kChunk = 256;
  const double row = 4.0 * kTokens * kWidth;
  Register("embedding", 2 * row, [] {
    const Tensor ids = Indices(kTokens, kVocab), table = Filled({kVocab, kWidth}),
                 y = Filled({kTokens, kWidth});
    return [=] { Embedding(Stream{}, ids, table, 1, y); };
  });
  Register("embedding_scatter", 3 * row, [] {
    const Tensor ids = Indices(kTokens, kVocab), dtable = Filled({kVocab, kWidth}),
                 dy = Filled({kTokens, kWidth});
    return [=] { EmbeddingBackward(Stream{}, ids, dy, 1, /*accumulate=*/true, dtable); };
  });
  Register("cross_entropy", 2 * 4.0 * kChunk * kVocab, [] {
    const Tensor targets = Indices(kChunk, kVocab), logits = Filled({kChunk, kVocab});
    const Tensor nll = OfType(DType::kF64, kChunk);
    return [=] { CrossEntropy(Stream{}, logits, targets, nll, {.gradient = true}); };
  });
  Register("dropout", 2 * row, [] {
    const Tensor x = Filled({kTokens, kWidth}), y = Filled({kTokens, kWidth});
    const Tensor keys = OfType(DType::kI64, kTokens);
    return [=] { Dropout(Stream{}, x, keys, y, {.p = 0.1, .key = 1}); };
  });
}

void RegisterLayers() {
  const double row = 4.0 * kTokens * kWidth;
  Register("add_rms_norm", 4 * row, [] {
    const Tensor r = Filled({kTokens, kWidth}), b = Filled({kTokens, kWidth}), w = Filled({kWidth}),
                 sum = Filled({kTokens, kWidth}), y = Filled({kTokens, kWidth}),
                 rstd = Filled({kTokens});
    return [=] { AddRmsNorm(Stream{}, r, b, View{}, w, {}, sum, y, rstd, View{}); };
  });
  Register("rms_norm_backward", 4 * row, [] {
    const Tensor dy = Filled({kTokens, kWidth}), x = Filled({kTokens, kWidth}),
                 w = Filled({kWidth}), rstd = Filled({kTokens}), dx = Filled({kTokens, kWidth});
    return [=] { RmsNormBackward(Stream{}, dy, x, w, rstd, {}, dy, dx, View{}, false, View{}); };
  });
  for (const GluActivation activation : {GluActivation::kSilu, GluActivation::kGeluTanh}) {
    const bool silu = activation == GluActivation::kSilu;
    Register(silu ? "swiglu" : "geglu", 3 * 4.0 * kTokens * kFfn, [=] {
      const Tensor x = Filled({kTokens, 2 * kFfn}), y = Filled({kTokens, kFfn});
      return [=] { Glu(Stream{}, x, activation, y); };
    });
    Register(silu ? "swiglu_backward" : "geglu_backward", 5 * 4.0 * kTokens * kFfn, [=] {
      const Tensor x = Filled({kTokens, 2 * kFfn}), dx = Filled({kTokens, 2 * kFfn}),
                   dy = Filled({kTokens, kFfn});
      return [=] { GluBackward(Stream{}, dy, x, activation, dx); };
    });
  }
  Register("rope", 2 * 4.0 * kTokens * kHeads * 64, [] {
    const Tensor x = Filled({kTokens, kHeads, 64}), table = Filled({kTokens, 32, 2});
    return [=] { Rope(Stream{}, x, table, 1); };
  });
}

void RegisterFlat() {
  Register("cast_f32_bf16", 6.0 * kFlat, [] {
    const Tensor x = Filled({kFlat}), y = OfType(DType::kBF16, kFlat);
    return [=] { Cast(Stream{}, x, y); };
  });
  Register("add_fixed_point", 20.0 * kFlat, [] {
    const Tensor x = Filled({kFlat}), sum = OfType(DType::kI64, kFlat),
                 overflow = OfType(DType::kI64, 1);
    return [=] { AddFixedPoint(Stream{}, x, kGradientFractionBits, 1000000, sum, overflow); };
  });
  Register("norm_i64", 8.0 * kFlat, [] {
    const Tensor x = OfType(DType::kI64, kFlat), norm = OfType(DType::kF64, 1),
                 partials = OfType(DType::kF64, NormPartials(kFlat));
    return [=] { Norm(Stream{}, x, norm, partials); };
  });
  Register("adamw_i64", 32.0 * kFlat, [] {
    const Tensor g = OfType(DType::kI64, kFlat), one = OfType(DType::kF64, 1),
                 overflow = OfType(DType::kI64, 1), p = Filled({kFlat}),
                 m = OfType(DType::kF32, kFlat), v = OfType(DType::kF32, kFlat);
    return [=] {
      const AdamWRange range = {0, kFlat, 1e-4, 0.01};
      AdamW(Stream{}, g, one, overflow, {}, {&range, 1}, p, m, v, View{});
    };
  });
  Register("copy_f32", 8.0 * kFlat, [] {
    const Tensor x = Filled({kFlat}), y = Filled({kFlat});
    return [=] { Cast(Stream{}, x, y); };
  });
}

const bool registered = [] {
  RegisterLayers();
  RegisterEnds();
  RegisterFlat();
  return true;
}();

}  // namespace
}  // namespace lockstep::kernels
