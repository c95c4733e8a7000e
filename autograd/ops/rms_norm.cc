#include "autograd/ops/rms_norm.h"

#include "base/check.h"

namespace lockstep::autograd {

Variable RmsNorm(Tape& tape, const Variable& x, const Variable& weight,
                 const RmsNormOptions& options) {
  const Context& context = tape.context();
  const Tensor& in = x.value();
  CHECK_EQ(in.rank(), 2) << "[rms_norm] x: want [T, C], got " << Describe(in);
  const Tensor y = Tensor::Empty(*context.allocator, in.dtype(), {in.dim(0), in.dim(1)});
  const Tensor rstd = tape.WouldRecord({x, weight})
                          ? NewRstd(*context.allocator, in.dtype(), {in.dim(0)})
                          : Tensor();
  kernels::RmsNorm(context.stream, in, weight.value(), options, y, rstd);
  return tape.Record("rms_norm", {x, weight}, y, {in, rstd}, [options](Gradients& g) {
    const Tensor dy = g.TakeOutput(0);
    const Tensor dx = dy.unique() ? dy : g.NewLike(0);
    BackwardOfRmsNorm(g, 1, dy, g.saved(0), g.saved(1), options, View{}, dx);
    g.Add(0, dx);
  });
}

Tensor NewRstd(Allocator& allocator, DType dtype, std::initializer_list<int64_t> shape) {
  return Tensor::Empty(allocator, AccumulateType(dtype), shape);
}

void BackwardOfRmsNorm(Gradients& gradients, int weight_index, const View& dy, const View& x,
                       const View& rstd, const RmsNormOptions& options, const View& addend,
                       const View& dx) {
  LeafTarget dw = {};
  Tensor partials;
  if (gradients.Needs(weight_index)) {
    dw = gradients.Target(weight_index);
    const int64_t width = dw.grad.dim(0);
    partials =
        gradients.New(dw.grad.dtype(), {kernels::RmsNormPartials(rstd.numel(), width), width});
  }
  kernels::RmsNormBackward(gradients.context().stream, dy, x, gradients.input(weight_index), rstd,
                           options, addend, dx, dw.grad, dw.accumulate, partials);
}

}  // namespace lockstep::autograd
