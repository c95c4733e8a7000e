#include "autograd/ops/embedding.h"

#include "tensor/kernels/cast.h"
#include "tensor/kernels/embedding.h"
#include "tensor/kernels/fill.h"

namespace lockstep::autograd {

Variable Embedding(Tape& tape, const Tensor& ids, const Variable& table, DType dtype, double scale,
                   int64_t padding_idx) {
  const Tensor y =
      Tensor::Empty(*tape.context().allocator, dtype, {ids.dim(0), table.value().dim(1)});
  kernels::Embedding(tape.context().stream, ids, table.value(), scale, y);
  return tape.Record("embedding", {table}, y, {ids}, [=](Gradients& g) {
    const Stream& stream = g.context().stream;
    const LeafTarget table = g.Target(0);
    Tensor row, before;  // of padding_idx
    if (padding_idx >= 0) {
      row = table.grad.Slice(0, padding_idx, padding_idx + 1);
      before = Tensor::Empty(*g.context().allocator, row.dtype(), {1, row.dim(1)});
      if (table.accumulate) {
        kernels::Cast(stream, row, before.Mutable("embedding"));
      } else {
        kernels::Fill(stream, before.Mutable("embedding"), 0.0);
      }
    }
    kernels::EmbeddingBackward(stream, g.saved(0), g.output(0), scale, table.accumulate,
                               table.grad);
    if (padding_idx >= 0) kernels::Cast(stream, before, row.Mutable("embedding"));
  });
}

}  // namespace lockstep::autograd
