#include "autograd/ops/embedding.h"

#include "tensor/kernels/embedding.h"

namespace lockstep::autograd {

Variable Embedding(Tape& tape, const Tensor& ids, const Variable& table, DType dtype,
                   double scale) {
  const Tensor y =
      Tensor::Empty(*tape.context().allocator, dtype, {ids.dim(0), table.value().dim(1)});
  kernels::Embedding(tape.context().stream, ids, table.value(), scale, y);
  return tape.Record("embedding", {table}, y, {ids}, [scale](Gradients& g) {
    const LeafTarget table = g.Target(0);
    kernels::EmbeddingBackward(g.context().stream, g.saved(0), g.output(0), scale, table.accumulate,
                               table.grad);
  });
}

}  // namespace lockstep::autograd
