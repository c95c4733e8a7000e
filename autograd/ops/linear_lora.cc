#include "autograd/ops/linear_lora.h"

#include <utility>
#include <vector>

#include "autograd/ops/lora_product.h"

namespace lockstep::autograd {

Variable LinearLora(Tape& tape, const Variable& x, const LoraLayer& weights,
                    const LoraDropout& dropout, bool ends_segment) {
  const Context& context = tape.context();
  const LoraLinear layer(weights, dropout);
  const int64_t tokens = x.value().dim(0);
  const DType dtype = x.value().dtype();
  const Tensor y = Tensor::Empty(*context.allocator, dtype, {tokens, layer.outputs()});
  const Tensor h = Tensor::Empty(*context.allocator, dtype, {tokens, layer.total_rank()});
  const Tensor drops = layer.Drops(context, dtype, dropout.token_keys);
  layer.ForwardOfH(context, x.value(), drops, h);
  if (!(ends_segment && tape.rerunning())) layer.ForwardOfY(context, x.value(), h, y);

  std::vector<Variable> inputs = {x};
  const std::vector<Variable> more = LoraLinear::Weights(weights);
  inputs.insert(inputs.end(), more.begin(), more.end());
  return tape.Record(
      "linear_lora", inputs, {y},
      {layer.BackwardReadsX() ? x.value() : Tensor(), layer.BackwardReadsH() ? h : Tensor(), drops},
      [layer](Gradients& g) {
        LoraLinear::Targets targets = layer.TargetsOf(g, 1);
        if (g.Needs(0)) targets.dx = g.NewLike(0);
        layer.Backward(g.context(), g.saved(0), g.saved(1), g.saved(2), g.output(0), targets);
        if (targets.dx.defined()) g.Add(0, std::move(targets.dx));
      })[0];
}

}  // namespace lockstep::autograd
