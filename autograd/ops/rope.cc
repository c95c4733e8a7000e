#include "autograd/ops/rope.h"

#include "autograd/ops/in_place.h"
#include "base/check.h"
#include "tensor/kernels/rope.h"

namespace lockstep::autograd {

Tensor RopeTable(const Context& context, const Tensor& positions, const Tensor& inv_freq,
                 const Tensor& row, double attention_factor) {
  const Tensor table =
      Tensor::Empty(*context.allocator, inv_freq.dtype(), {positions.dim(0), inv_freq.dim(1), 2});
  kernels::RopeTable(context.stream, positions, inv_freq, row, attention_factor, table);
  return table;
}

Variable Rope(Tape& tape, const Variable& qkv, const QkvLayout& layout, const Tensor& table) {
  CHECK_EQ(qkv.value().dim(1), layout.width()) << "[rope] qkv: " << Describe(qkv.value());
  kernels::Rope(tape.context().stream, layout.QK(qkv.value().Mutable("rope")), table, 1);
  return tape.RecordInPlace("rope", qkv, {}, {table}, [layout](Gradients& g) {
    const Tensor dqkv = OwnGradient(g, 0);
    kernels::Rope(g.context().stream, layout.QK(dqkv), g.saved(0), -1);
    g.Add(0, dqkv);
  });
}

}  // namespace lockstep::autograd
