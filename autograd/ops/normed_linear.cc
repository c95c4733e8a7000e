#include "autograd/ops/normed_linear.h"

#include <utility>

namespace lockstep::autograd {

NormedResult NormedLinear(Tape& tape, const ResidualInput& in, const LoraLayer& weights,
                          const LoraDropout& dropout, bool leaves_shares) {
  const Context& context = tape.context();
  const LoraLinear layer(weights, dropout);
  const ResidualHead head(tape, in, LoraLinear::Weights(weights));
  const DType dtype = head.sum().dtype();
  const int64_t tokens = head.sum().dim(0);
  const Tensor y = Tensor::Empty(*context.allocator, dtype, {tokens, layer.outputs()});
  const Tensor h = Tensor::Empty(*context.allocator, dtype, {tokens, layer.total_rank()});
  const Tensor drops = layer.Drops(context, dtype, dropout.token_keys);
  layer.ForwardOfH(context, head.normed(), drops, h);
  layer.ForwardOfY(context, head.normed(), leaves_shares ? View{} : h.view(), y);
  std::vector<Tensor> saved = head.saved();
  saved.insert(saved.end(), {layer.BackwardReadsH() ? h : Tensor(), drops});
  const std::vector<Variable> outputs =
      tape.Record("normed_linear", head.inputs(), {head.sum(), y}, saved,
                  [layer, gradient = head.gradient()](Gradients& g) {
                    const Tensor dy = g.TakeOutput(1);
                    if (!dy.defined()) return gradient.Backward(g, Tensor());
                    BackwardOfNormedLinear(
                        g, gradient, layer, layer.TargetsOf(g, ResidualHead::kNumInputs),
                        g.saved(ResidualHead::kNumSaved), g.saved(ResidualHead::kNumSaved + 1), dy);
                  });
  return {outputs[0], outputs[1], leaves_shares ? PendingShares(layer, h) : PendingShares()};
}

void BackwardOfNormedLinear(Gradients& g, const ResidualHead::Gradient& head,
                            const LoraLinear& layer, LoraLinear::Targets targets, const Tensor& h,
                            const Tensor& drops, const Tensor& dy) {
  const Context& context = g.context();
  const auto input = [&]() -> LoraLinear::Input {
    if (layer.TakesNorm(dy.dtype(), targets)) return head.Norm(g);
    return layer.BackwardReadsX() ? head.Normed(g) : Tensor();
  };
  if (head.Wanted(g)) targets.dx = g.New(dy.dtype(), {dy.dim(0), layer.inputs()});
  layer.Backward(context, input(), h, drops, dy, targets);
  head.Backward(g, std::move(targets.dx));
}

}  // namespace lockstep::autograd
