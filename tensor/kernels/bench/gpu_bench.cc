// Rates of products and attention on a GPU, at the shapes of gpu.h, in bf16: TFLOP/s, of what
// causality leaves. A figure is of a row of launches that fills some 10 ms; in a step the GPU's
// clock may be lower.
//   bazel run //tools:bench -- --kernels=gpu/gemm   (or gpu/attention)

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tensor/kernels/attention.h"
#include "tensor/kernels/bench/gpu.h"
#include "tensor/kernels/gemm.h"

namespace lockstep::kernels {
namespace {

void RegisterProducts() {
  const auto product = [](const std::string& what, int64_t m, int64_t n, int64_t k, bool forward) {
    RegisterOnGpu("gemm/" + what, Work::kOperations, 2.0 * m * n * k, [=] {
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
    return HeadsOf(x, first, count, kHeadDim);
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
    RegisterOnGpu("attention/" + pack, Work::kOperations, 2 * product,
                  [documents = documents, length = length] {
                    const auto x = std::make_shared<AttentionOperands>(documents, length);
                    return [=] { x->Forward(); };
                  });
    RegisterOnGpu("attention_backward/" + pack, Work::kOperations, 5 * product,
                  [documents = documents, length = length] {
                    const auto x = std::make_shared<AttentionOperands>(documents, length);
                    x->Forward();
                    return [=] { x->Backward(); };
                  });
  }
}

const bool registered = [] {
  RegisterProducts();
  RegisterAttention();
  return true;
}();

}  // namespace
}  // namespace lockstep::kernels
