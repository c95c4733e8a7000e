#include "autograd/ops/glu.h"

#include "base/check.h"

namespace lockstep::autograd {

Variable Glu(Tape& tape, const Variable& gate_up, GluActivation activation) {
  const Context& context = tape.context();
  const Tensor& x = gate_up.value();
  CHECK_EQ(x.rank(), 2) << "[glu] want [T, 2F], got " << Describe(x);
  const Tensor y = Tensor::Empty(*context.allocator, x.dtype(), {x.dim(0), x.dim(1) / 2});
  kernels::Glu(context.stream, x, activation, y);
  return tape.Record("glu", {gate_up}, y, {x}, [activation](Gradients& g) {
    const Tensor dx = g.NewLike(0);
    kernels::GluBackward(g.context().stream, g.output(0), g.saved(0), activation, dx);
    g.Add(0, dx);
  });
}

}  // namespace lockstep::autograd
