#include "autograd/ops/embedding_lora.h"

#include "base/check.h"
#include "tensor/kernels/accumulate.h"
#include "tensor/kernels/cast.h"
#include "tensor/kernels/embedding.h"
#include "tensor/kernels/fill.h"
#include "tensor/kernels/gemm.h"

namespace lockstep::autograd {
namespace {

using kernels::Gemm;
using kernels::Transposed;

// dA of g [T, r]: summed by rows of Aᵀ, then turned.
void BackwardOfA(const Context& context, const Tensor& ids, const Tensor& g, int64_t padding_idx,
                 const LeafTarget& da) {
  const int64_t rank = da.grad.dim(0), vocab = da.grad.dim(1);
  const Tensor rows = Tensor::Empty(*context.allocator, da.grad.dtype(), {vocab, rank});
  kernels::EmbeddingBackward(context.stream, ids, g, 1, /*accumulate=*/false,
                             rows.Mutable("embedding_lora"));
  if (padding_idx >= 0) {
    const Tensor row = rows.Slice(0, padding_idx, padding_idx + 1);
    kernels::Fill(context.stream, row.Mutable("embedding_lora"), 0.0);
  }
  if (!da.accumulate) {
    kernels::Cast(context.stream, Transposed(rows), da.grad);
    return;
  }
  const Tensor turned = Tensor::Empty(*context.allocator, da.grad.dtype(), {rank, vocab});
  kernels::Cast(context.stream, Transposed(rows), turned.Mutable("embedding_lora"));
  kernels::Accumulate(context.stream, turned, da.grad);
}

}  // namespace

Variable EmbeddingLora(Tape& tape, const Tensor& ids, const Variable& y, const Variable& a,
                       const Variable& b, const EmbeddingLoraOptions& options) {
  const Context& context = tape.context();
  const int64_t rank = a.value().dim(0), vocab = a.value().dim(1);
  CHECK_EQ(b.value().dim(1), rank) << "[embedding_lora] A and B differ in rank";
  CHECK_EQ(b.value().dim(0), y.value().dim(1)) << "[embedding_lora] B does not fit y";
  const Tensor columns = Tensor::Empty(*context.allocator, a.value().dtype(), {vocab, rank});
  kernels::Cast(context.stream, Transposed(a.value()), columns.Mutable("embedding_lora"));
  const Tensor h = Tensor::Empty(*context.allocator, y.value().dtype(), {ids.dim(0), rank});
  kernels::Embedding(context.stream, ids, columns, 1, h.Mutable("embedding_lora"));
  Gemm(context.stream, h, Transposed(b.value()), y.value().Mutable("embedding_lora"),
       {.alpha = options.scale, .beta = 1});
  return tape.RecordInPlace("embedding_lora", y, {a, b}, {ids, h}, [options](Gradients& g) {
    const Stream& stream = g.context().stream;
    const Tensor& dy = g.output(0);
    if (g.Needs(2)) {
      const LeafTarget db = g.Target(2);
      Gemm(stream, Transposed(dy), g.saved(1), db.grad,
           {.alpha = options.scale, .beta = db.accumulate ? 1.0 : 0.0});
    }
    if (g.Needs(1)) {
      const Tensor share = g.New(dy.dtype(), {dy.dim(0), g.saved(1).dim(1)});
      Gemm(stream, dy, g.input(2), share.Mutable("embedding_lora"), {.alpha = options.scale});
      BackwardOfA(g.context(), g.saved(0), share, options.padding_idx, g.Target(1));
    }
    if (g.Needs(0)) g.Add(0, g.TakeOutput(0));
  });
}

}  // namespace lockstep::autograd
