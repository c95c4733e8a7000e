#include "autograd/ops/attention.h"

#include "base/check.h"

namespace lockstep::autograd {
namespace {

kernels::PackedDocuments Packed(const Documents& queries, const Documents& keys) {
  CHECK_GE(queries.starts.size(), size_t{1});
  CHECK_EQ(queries.starts.size(), keys.starts.size()) << "[attention] documents";
  return {static_cast<int64_t>(queries.starts.size()) - 1, queries.starts.data(),
          keys.starts.data(), queries.cu_seqlens, keys.cu_seqlens};
}

kernels::WorkspaceBytes Workspace(const Context& context, const View& q, const QkvLayout& layout,
                                  const kernels::PackedDocuments& documents,
                                  const AttentionOptions& options) {
  return kernels::AttentionWorkspace(
      context.device(), {q.shape[0], layout.heads, layout.kv_heads, layout.head_dim, q.dtype},
      documents, options);
}

Tensor Bytes(const Context& context, int64_t bytes) {
  return bytes == 0 ? Tensor() : Tensor::Empty(*context.allocator, DType::kU8, {bytes});
}

}  // namespace

Variable Attention(Tape& tape, const Variable& qkv, const QkvLayout& layout,
                   const Documents& documents, const AttentionOptions& options, bool once) {
  const Context& context = tape.context();
  const Tensor& in = qkv.value();
  CHECK(in.rank() == 2 && in.dim(1) == layout.width())
      << "[attention] qkv: want [T, " << layout.width() << "], got " << Describe(in);
  const auto compute = [&] {
    const Tensor out =
        Tensor::Empty(*context.allocator, in.dtype(), {in.dim(0), layout.heads * layout.head_dim});
    // Also where nothing is recorded: a kernel that computes it may differ from one that does not,
    // and recomputing must give the same bits.
    const Tensor lse =
        Tensor::Empty(*context.allocator, AccumulateType(in.dtype()), {in.dim(0), layout.heads});
    const kernels::PackedDocuments packed = Packed(documents, documents);
    const Tensor workspace =
        Bytes(context, Workspace(context, in, layout, packed, options).forward);
    kernels::Attention(context.stream, layout.Q(in), layout.K(in), layout.V(in), packed, options,
                       layout.Heads(out, 0, layout.heads), lse, workspace);
    return Tape::Computed{.large = out, .small = lse};
  };
  const auto [out, lse] = once ? tape.ComputeOnce(compute) : compute();
  return tape.Record(
      "attention", {qkv}, out, {in, out, lse}, [layout, documents, options](Gradients& g) {
        const Context& context = g.context();
        const View &in = g.saved(0), &out = g.saved(1), &dout = g.output(0);
        const kernels::PackedDocuments packed = Packed(documents, documents);
        const Tensor workspace =
            Bytes(context, Workspace(context, in, layout, packed, options).backward);
        const Tensor dqkv = g.NewLike(0);
        kernels::AttentionBackward(context.stream, layout.Heads(dout, 0, layout.heads),
                                   layout.Q(in), layout.K(in), layout.V(in),
                                   layout.Heads(out, 0, layout.heads), g.saved(2), packed, options,
                                   layout.Q(dqkv), layout.K(dqkv), layout.V(dqkv), workspace);
        g.Add(0, dqkv);
      });
}

void CachedAttention(const Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
                     const QkvLayout& layout, const Documents& queries, const Documents& keys,
                     AttentionOptions options, const Tensor& out) {
  const kernels::PackedDocuments packed = Packed(queries, keys);
  options.kernels = kernels::AttentionKernels::kOwn;  // lengths are new with every token
  const Tensor workspace = Bytes(context, Workspace(context, q, layout, packed, options).forward);
  kernels::Attention(context.stream, layout.Heads(q, 0, layout.heads),
                     layout.Heads(k, 0, layout.kv_heads), layout.Heads(v, 0, layout.kv_heads),
                     packed, options, layout.Heads(out, 0, layout.heads), View{}, workspace);
}

}  // namespace lockstep::autograd
