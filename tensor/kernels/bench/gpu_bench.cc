// Rates of the kernels of a training step on a GPU, at the shapes of an 8B Llama, 2 documents of
// 4096 tokens, rank 16, in bf16.
//   bazel run //tools:bench -- --kernels=gpu
// Passes over memory: GB/s of what they must read and write, and the share of a device copy's rate,
// measured here. Products and attention: TFLOP/s, of what causality leaves. A figure is of a row
// of launches that fills some 10 ms; in a step the GPU's clock may be lower.

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "benchmark/benchmark.h"
#include "tensor/half.h"
#include "tensor/kernels/adamw.h"
#include "tensor/kernels/add_rms_norm.h"
#include "tensor/kernels/attention.h"
#include "tensor/kernels/cast.h"
#include "tensor/kernels/cross_entropy.h"
#include "tensor/kernels/dropout.h"
#include "tensor/kernels/embedding.h"
#include "tensor/kernels/fill.h"
#include "tensor/kernels/fixed_point.h"
#include "tensor/kernels/gemm.h"
#include "tensor/kernels/glu_lora.h"
#include "tensor/kernels/norm.h"
#include "tensor/kernels/rms_norm.h"
#include "tensor/kernels/rope.h"
#include "tensor/runtime.h"
#include "tensor/tensor.h"

namespace lockstep::kernels {
namespace {

constexpr int64_t kTokens = 8192, kWidth = 4096, kFfn = 14336, kVocab = 128256, kHeadRows = 1024;
constexpr int64_t kHeads = 32, kKvHeads = 8, kHeadDim = 128, kRank = 16, kFlat = int64_t{40} << 20;

// The first GPU, for as long as the process lives. Null if there is none.
const Context* Gpu() {
  static const std::unique_ptr<Runtime>* runtime = [] {
    auto opened = Runtime::Open(Device{DeviceType::kCUDA, 0});
    return new std::unique_ptr<Runtime>(opened.ok() ? *std::move(opened) : nullptr);
  }();
  return *runtime == nullptr ? nullptr : &(*runtime)->context();
}

const Stream& OnGpu() { return Gpu()->stream; }

Tensor Empty(DType dtype, std::initializer_list<int64_t> shape) {
  return Tensor::Empty(*Gpu()->allocator, dtype, shape);
}

Tensor Zeros(DType dtype, std::initializer_list<int64_t> shape) {
  const Tensor x = Empty(dtype, shape);
  Fill(OnGpu(), x, 0.0);
  return x;
}

// Normal values, in blocks that repeat: products with zeros would draw less power.
Tensor Random(DType dtype, std::initializer_list<int64_t> shape) {
  static const std::vector<float>* block = [] {
    auto* values = new std::vector<float>(1 << 20);
    std::mt19937 bits(1);
    std::normal_distribution<float> normal;
    for (float& value : *values) value = normal(bits);
    return values;
  }();
  const Tensor x = Empty(dtype, shape);
  std::vector<char> bytes(block->size() * SizeOf(dtype));
  for (size_t i = 0; i < block->size(); ++i) {
    const uint16_t half = FloatToBf16((*block)[i]);
    const void* from = dtype == DType::kBF16 ? static_cast<const void*>(&half) : &(*block)[i];
    std::memcpy(&bytes[i * SizeOf(dtype)], from, SizeOf(dtype));
  }
  const Tensor flat = x.Reshape({x.numel()});
  const int64_t size = static_cast<int64_t>(block->size());
  for (int64_t begin = 0; begin < flat.numel(); begin += size) {
    CopyToDevice(OnGpu(), bytes.data(),
                 flat.Slice(0, begin, std::min(begin + size, flat.numel())).Mutable("bench"));
  }
  return x;
}

Tensor FromHost(absl::Span<const int32_t> values) {
  const Tensor x = Empty(DType::kI32, {static_cast<int64_t>(values.size())});
  CopyToDevice(OnGpu(), values.data(), x.Mutable("bench"));
  return x;
}

Tensor Indices(int64_t n, int64_t below) {
  std::vector<int32_t> values;
  for (int64_t i = 0; i < n; ++i) values.push_back(static_cast<int32_t>(i * 7919 % below));
  return FromHost(values);
}

// Seconds that `count` passes take, one behind the other.
double Seconds(const std::function<void()>& pass, int count) {
  Synchronize(OnGpu());
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < count; ++i) pass();
  Synchronize(OnGpu());
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Bytes that a device copy reads and writes in a second.
double CopyRate() {
  static const double rate = [] {
    constexpr int64_t kNumel = int64_t{1} << 29;
    const Tensor from = Random(DType::kBF16, {kNumel}), to = Empty(DType::kBF16, {kNumel});
    const auto copy = [&] { Cast(OnGpu(), from, to); };
    Seconds(copy, 3);
    constexpr int kCount = 20;
    return kCount * 2.0 * sizeof(uint16_t) * kNumel / Seconds(copy, kCount);
  }();
  return rate;
}

enum class Work { kBytes, kOperations };

// `make` prepares operands and returns the pass, which does `amount` of the work.
void Register(const std::string& what, Work work, double amount,
              std::function<std::function<void()>()> make) {
  benchmark::RegisterBenchmark(
      ("gpu/" + what).c_str(),
      [=](benchmark::State& state) {
        if (Gpu() == nullptr) {
          state.SkipWithError("no GPU");
          return;
        }
        const double copy = CopyRate();
        const std::function<void()> pass = make();
        const double once = Seconds(pass, 3) / 3;
        const int count = std::clamp(static_cast<int>(1e-2 / once), 1, 500);
        Seconds(pass, count);
        for (auto _ : state) state.SetIterationTime(Seconds(pass, count) / count);
        const auto rate = [&](double per_pass) {
          return benchmark::Counter(per_pass, benchmark::Counter::kIsIterationInvariantRate);
        };
        if (work == Work::kOperations) {
          state.counters["TFLOP/s"] = rate(1e-12 * amount);
          return;
        }
        state.counters["GB/s"] = rate(1e-9 * amount);
        state.counters["of_copy"] = rate(amount / copy);
      })
      ->UseManualTime()
      ->Iterations(10)
      ->Unit(benchmark::kMicrosecond);
}

void Bytes(const std::string& what, double bytes, std::function<std::function<void()>()> make) {
  Register(what, Work::kBytes, bytes, std::move(make));
}

constexpr DType kHalf = DType::kBF16;
constexpr double kRow = 2.0 * kTokens * kWidth;  // bytes of [T, C]

// An adapter's share; its h are kRank columns of `h` from `column` on.
LoraShare Share(const View& h, int64_t column, const View& b) {
  LoraShare share;
  share.h = h.Slice(1, column, column + kRank);
  share.b = b;
  return share;
}

void RegisterNorms() {
  Bytes("add_rms_norm", 4 * kRow, [] {
    const Tensor r = Random(kHalf, {kTokens, kWidth}), b = Random(kHalf, {kTokens, kWidth}),
                 w = Random(kHalf, {kWidth}), sum = Empty(kHalf, {kTokens, kWidth}),
                 y = Empty(kHalf, {kTokens, kWidth}), rstd = Empty(DType::kF32, {kTokens});
    const Tensor h = Random(kHalf, {kTokens, kRank}), lora_b = Random(kHalf, {kWidth, kRank});
    return [=] {
      AddRmsNorm(OnGpu(), r, b, Share(h, 0, lora_b), View{}, w, {}, sum, y, rstd, View{});
    };
  });
  Bytes("rms_norm_backward", 4 * kRow, [] {
    const Tensor dy = Random(kHalf, {kTokens, kWidth}), x = Random(kHalf, {kTokens, kWidth}),
                 w = Random(kHalf, {kWidth}), rstd = Random(DType::kF32, {kTokens}),
                 addend = Random(kHalf, {kTokens, kWidth}), dx = Empty(kHalf, {kTokens, kWidth});
    return [=] { RmsNormBackward(OnGpu(), dy, x, w, rstd, {}, addend, dx, View{}, false, View{}); };
  });
}

void RegisterRope() {
  constexpr int64_t kRotated = kHeads + kKvHeads;
  Bytes("rope", 2 * 2.0 * kTokens * kRotated * kHeadDim + 4.0 * kTokens * kHeadDim, [] {
    const Tensor qkv = Random(kHalf, {kTokens, kRotated + kKvHeads, kHeadDim}),
                 table = Random(DType::kF32, {kTokens, kHeadDim / 2, 2});
    return [=] { Rope(OnGpu(), qkv.view().Slice(1, 0, kRotated), table, 1); };
  });
}

void RegisterGlu() {
  const double wide = 2.0 * kTokens * kFfn;
  // LoRA's narrow products come along: the bytes are the wide tensors' alone.
  Bytes("glu_lora", 3 * wide, [=] {
    const Tensor x = Random(kHalf, {kTokens, 2 * kFfn}), y = Empty(kHalf, {kTokens, kFfn}),
                 h = Random(kHalf, {kTokens, 2 * kRank}), b = Random(kHalf, {kFfn, kRank}),
                 a = Random(kHalf, {kRank, kFfn}), next = Empty(kHalf, {kTokens, kRank}),
                 scratch = Empty(DType::kF32, {GluLoraScratch(kTokens, kFfn, kRank)});
    return [=] {
      GluLora(OnGpu(), x, Share(h, 0, b), Share(h, kRank, b), GluActivation::kSilu, y,
              {next, Transposed(a)}, scratch);
    };
  });
  Bytes("glu_lora_backward", 5 * wide, [=] {
    const Tensor x = Random(kHalf, {kTokens, 2 * kFfn}), dy = Random(kHalf, {kTokens, kFfn}),
                 h = Random(kHalf, {kTokens, 2 * kRank}), b = Random(kHalf, {kFfn, kRank}),
                 g = Random(kHalf, {kTokens, kRank}), a = Random(kHalf, {kRank, kFfn}),
                 dh = Empty(kHalf, {kTokens, 2 * kRank}),
                 db = Empty(DType::kF32, {2 * kFfn, kRank}), da = Empty(DType::kF32, {kRank, kFfn}),
                 scratch = Empty(DType::kF32, {GluLoraScratch(kTokens, kFfn, kRank)});
    return [=] {
      GluLoraGradients gradients;
      gradients.gate = {dh.view().Slice(1, 0, kRank), db.view().Slice(0, 0, kFfn), false};
      gradients.up = {dh.view().Slice(1, kRank, 2 * kRank), db.view().Slice(0, kFfn, 2 * kFfn),
                      false};
      gradients.dy_db = Transposed(da);
      GluLoraBackward(OnGpu(), dy, Share(g, 0, Transposed(a)), x, Share(h, 0, b),
                      Share(h, kRank, b), GluActivation::kSilu, gradients, scratch);
    };
  });
}

void RegisterEnds() {
  Bytes("embedding", 2 * kRow, [] {
    const Tensor ids = Indices(kTokens, kVocab), table = Random(kHalf, {kVocab, kWidth}),
                 y = Empty(kHalf, {kTokens, kWidth});
    return [=] { Embedding(OnGpu(), ids, table, 1, y); };
  });
  Bytes("cross_entropy", 2 * 2.0 * kHeadRows * kVocab, [] {
    const Tensor logits = Random(kHalf, {kHeadRows, kVocab}), targets = Indices(kHeadRows, kVocab),
                 nll = Empty(DType::kF64, {kHeadRows});
    return [=] { CrossEntropy(OnGpu(), logits, targets, nll, {.gradient = true}); };
  });
  Bytes("dropout", 2 * kRow, [] {
    const Tensor x = Random(kHalf, {kTokens, kWidth}), y = Empty(kHalf, {kTokens, kWidth}),
                 keys = Zeros(DType::kI64, {kTokens});
    return [=] { Dropout(OnGpu(), x, keys, y, {.p = 0.1, .key = 1}); };
  });
}

// Passes over the flat buffers of 42 M trainable values.
void RegisterFlat() {
  Bytes("add_fixed_point", 20.0 * kFlat, [] {
    const Tensor x = Random(DType::kF32, {kFlat}), sum = Zeros(DType::kI64, {kFlat}),
                 overflow = Zeros(DType::kI64, {1});
    return [=] { AddFixedPoint(OnGpu(), x, 20, 1000000, sum, overflow); };
  });
  Bytes("norm_i64", 8.0 * kFlat, [] {
    const Tensor x = Zeros(DType::kI64, {kFlat}), norm = Empty(DType::kF64, {1}),
                 partials = Empty(DType::kF64, {NormPartials(kFlat)});
    return [=] { Norm(OnGpu(), x, norm, partials); };
  });
  Bytes("adamw_i64", 34.0 * kFlat, [] {
    const Tensor g = Zeros(DType::kI64, {kFlat}), coefficient = Zeros(DType::kF64, {1}),
                 overflow = Zeros(DType::kI64, {1}), p = Random(DType::kF32, {kFlat}),
                 m = Zeros(DType::kF32, {kFlat}), v = Zeros(DType::kF32, {kFlat}),
                 image = Empty(kHalf, {kFlat});
    return [=] {
      const AdamWRange range = {0, kFlat, 1e-4, 0.01};
      AdamW(OnGpu(), g, coefficient, overflow, {}, {&range, 1}, p, m, v, image);
    };
  });
  Bytes("cast_f32_bf16", 6.0 * kFlat, [] {
    const Tensor x = Random(DType::kF32, {kFlat}), y = Empty(kHalf, {kFlat});
    return [=] { Cast(OnGpu(), x, y); };
  });
}

void RegisterProducts() {
  const auto product = [](const std::string& what, int64_t m, int64_t n, int64_t k, bool forward) {
    Register("gemm/" + what, Work::kOperations, 2.0 * m * n * k, [=] {
      const Tensor a = Random(kHalf, {m, k}), c = Empty(kHalf, {m, n}),
                   w = forward ? Random(kHalf, {n, k}) : Random(kHalf, {k, n});
      return [=] { Gemm(OnGpu(), a, forward ? Transposed(w) : w.view(), c); };
    });
  };
  const auto layer = [&](const std::string& what, int64_t rows, int64_t in, int64_t out) {
    product(what, rows, out, in, true);
    product(what + "_dx", rows, in, out, false);
  };
  layer("qkv", kTokens, kWidth, (kHeads + 2 * kKvHeads) * kHeadDim);
  layer("o", kTokens, kHeads * kHeadDim, kWidth);
  layer("gate_up", kTokens, kWidth, 2 * kFfn);
  layer("down", kTokens, kFfn, kWidth);
  layer("head", kHeadRows, kWidth, kVocab);
}

struct AttentionOperands {
  std::vector<int32_t> starts = {0};
  Tensor cu_seqlens, qkv, dqkv, out, dout, lse, forward_workspace, backward_workspace;

  AttentionOperands(int64_t documents, int64_t length) {
    for (int64_t d = 1; d <= documents; ++d) starts.push_back(static_cast<int32_t>(d * length));
    const int64_t tokens = starts.back(), width = (kHeads + 2 * kKvHeads) * kHeadDim;
    cu_seqlens = FromHost(starts);
    qkv = Random(kHalf, {tokens, width});
    dqkv = Empty(kHalf, {tokens, width});
    out = Empty(kHalf, {tokens, kHeads * kHeadDim});
    dout = Random(kHalf, {tokens, kHeads * kHeadDim});
    lse = Empty(DType::kF32, {tokens, kHeads});
    const WorkspaceBytes bytes = AttentionWorkspace(
        Gpu()->stream.device, {tokens, kHeads, kKvHeads, kHeadDim, kHalf}, Documents(), Options());
    forward_workspace = Empty(DType::kU8, {std::max<int64_t>(1, bytes.forward)});
    backward_workspace = Empty(DType::kU8, {std::max<int64_t>(1, bytes.backward)});
  }

  static AttentionOptions Options() { return {.scale = 0.088}; }
  PackedDocuments Documents() const {
    return {static_cast<int64_t>(starts.size()) - 1, starts.data(), starts.data(), cu_seqlens,
            cu_seqlens};
  }
  static View Heads(const View& x, int64_t first, int64_t count) {
    View view = x.Slice(1, first * kHeadDim, (first + count) * kHeadDim);
    view.rank = 3;
    view.shape[1] = count, view.shape[2] = kHeadDim;
    view.stride[1] = kHeadDim, view.stride[2] = 1;
    return view;
  }

  void Forward() const {
    Attention(OnGpu(), Heads(qkv, 0, kHeads), Heads(qkv, kHeads, kKvHeads),
              Heads(qkv, kHeads + kKvHeads, kKvHeads), Documents(), Options(),
              Heads(out, 0, kHeads), lse, forward_workspace);
  }
  void Backward() const {
    AttentionBackward(OnGpu(), Heads(dout, 0, kHeads), Heads(qkv, 0, kHeads),
                      Heads(qkv, kHeads, kKvHeads), Heads(qkv, kHeads + kKvHeads, kKvHeads),
                      Heads(out, 0, kHeads), lse, Documents(), Options(), Heads(dqkv, 0, kHeads),
                      Heads(dqkv, kHeads, kKvHeads), Heads(dqkv, kHeads + kKvHeads, kKvHeads),
                      backward_workspace);
  }
};

void RegisterAttention() {
  for (const auto& [documents, length] : {std::pair<int64_t, int64_t>{2, 4096}, {53, 155}}) {
    const std::string pack = std::to_string(documents) + "x" + std::to_string(length);
    const double pairs = 0.5 * static_cast<double>(documents * length * (length + 1));
    const double product = 2 * pairs * kHeads * kHeadDim;
    Register("attention/" + pack, Work::kOperations, 2 * product,
             [documents = documents, length = length] {
               const auto x = std::make_shared<AttentionOperands>(documents, length);
               return [=] { x->Forward(); };
             });
    Register("attention_backward/" + pack, Work::kOperations, 5 * product,
             [documents = documents, length = length] {
               const auto x = std::make_shared<AttentionOperands>(documents, length);
               x->Forward();
               return [=] { x->Backward(); };
             });
  }
}

const bool registered = [] {
  RegisterNorms();
  RegisterRope();
  RegisterGlu();
  RegisterEnds();
  RegisterFlat();
  RegisterProducts();
  RegisterAttention();
  return true;
}();

}  // namespace
}  // namespace lockstep::kernels
