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

// A pack of documents of equal length, and the heads that attend to it.
struct AttentionSizes {
  int64_t documents, length, heads, kv_heads, dim;
  AttentionOptions options;

  // Operations of one of the products that causality leaves half of.
  double product() const {
    return static_cast<double>(documents * length * (length + 1) * heads * dim);
  }
};

struct AttentionOperands {
  AttentionSizes sizes;
  std::vector<int32_t> starts = {0};
  Tensor cu_seqlens, qkv, dqkv, out, dout, lse, forward_workspace, backward_workspace;

  explicit AttentionOperands(const AttentionSizes& s) : sizes(s) {
    for (int64_t d = 1; d <= s.documents; ++d) {
      starts.push_back(static_cast<int32_t>(d * s.length));
    }
    const int64_t tokens = starts.back(), width = (s.heads + 2 * s.kv_heads) * s.dim;
    cu_seqlens = FromHost(starts);
    qkv = Random(kHalf, {tokens, width});
    dqkv = Empty(kHalf, {tokens, width});
    out = Empty(kHalf, {tokens, s.heads * s.dim});
    dout = Random(kHalf, {tokens, s.heads * s.dim});
    lse = Empty(DType::kF32, {tokens, s.heads});
    const WorkspaceBytes bytes = AttentionWorkspace(
        Gpu()->stream.device, {tokens, s.heads, s.kv_heads, s.dim, kHalf}, Documents(), s.options);
    forward_workspace = Empty(DType::kU8, {std::max<int64_t>(1, bytes.forward)});
    backward_workspace = Empty(DType::kU8, {std::max<int64_t>(1, bytes.backward)});
  }

  PackedDocuments Documents() const {
    return {static_cast<int64_t>(starts.size()) - 1, starts.data(), starts.data(), cu_seqlens,
            cu_seqlens};
  }
  View Q(const View& x) const { return HeadsOf(x, 0, sizes.heads, sizes.dim); }
  View K(const View& x) const { return HeadsOf(x, sizes.heads, sizes.kv_heads, sizes.dim); }
  View V(const View& x) const {
    return HeadsOf(x, sizes.heads + sizes.kv_heads, sizes.kv_heads, sizes.dim);
  }

  void Forward() const {
    Attention(OnGpu(), Q(qkv), K(qkv), V(qkv), Documents(), sizes.options, Q(out), lse,
              forward_workspace);
  }
  void Backward() const {
    AttentionBackward(OnGpu(), Q(dout), Q(qkv), K(qkv), V(qkv), Q(out), lse, Documents(),
                      sizes.options, Q(dqkv), K(dqkv), V(dqkv), backward_workspace);
  }
};

void RegisterAttention(const std::string& what, const AttentionSizes& sizes) {
  RegisterOnGpu("attention/" + what, Work::kOperations, 2 * sizes.product(), [sizes] {
    const auto x = std::make_shared<AttentionOperands>(sizes);
    return [=] { x->Forward(); };
  });
  RegisterOnGpu("attention_backward/" + what, Work::kOperations, 5 * sizes.product(), [sizes] {
    const auto x = std::make_shared<AttentionOperands>(sizes);
    x->Forward();
    return [=] { x->Backward(); };
  });
}

void RegisterAttention() {
  const auto of = [](AttentionKernels kernels) {
    return AttentionOptions{.scale = 0.088, .kernels = kernels};
  };
  const AttentionOptions own = of(AttentionKernels::kOwn);
  for (const auto& [documents, length] : {std::pair<int64_t, int64_t>{2, 4096}, {53, 155}}) {
    const std::string pack = std::to_string(documents) + "x" + std::to_string(length);
    const auto with = [documents = documents, length = length](const AttentionOptions& options) {
      return AttentionSizes{documents, length, kHeads, kKvHeads, kHeadDim, options};
    };
    RegisterAttention(pack, with(of(AttentionKernels::kFastest)));
    RegisterAttention(pack + "/own", with(own));
    RegisterAttention(pack + "/plain", with(of(AttentionKernels::kPlain)));
  }
  AttentionOptions capped = own;
  capped.softcap = 50;
  RegisterAttention("2x4096/own/heads_of_64", {2, 4096, 32, 8, 64, own});
  RegisterAttention("2x4096/own/heads_of_256_capped", {2, 4096, 8, 4, 256, capped});
}

const bool registered = [] {
  RegisterProducts();
  RegisterAttention();
  return true;
}();

}  // namespace
}  // namespace lockstep::kernels
