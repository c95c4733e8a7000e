#include "autograd/ops/linear_lora.h"

#include <utility>
#include <vector>

#include "autograd/ops/lora_product.h"
#include "autograd/ops/pending_shares.h"

namespace lockstep::autograd {

Variable LinearLora(Tape& tape, const Variable& x, const Variable& w, const Variable& bias,
                    absl::Span<const LoraAdapter> adapters, const LoraDropout& dropout,
                    const LinearOutput& output) {
  const Context& context = tape.context();
  const LoraLinear layer(w, bias, adapters, dropout);
  const int64_t tokens = x.value().dim(0);
  const DType dtype = x.value().dtype();
  const Tensor y = Tensor::Empty(*context.allocator, dtype, {tokens, layer.outputs()});
  const Tensor h = Tensor::Empty(*context.allocator, dtype, {tokens, layer.total_rank()});
  layer.Forward(context, x.value(), dropout.token_keys, y, h, output);

  std::vector<Variable> inputs = {x};
  const std::vector<Variable> weights = LoraLinear::Weights(w, bias, adapters);
  inputs.insert(inputs.end(), weights.begin(), weights.end());
  return tape.Record("linear_lora", inputs, {y},
                     {layer.BackwardReadsX() ? x.value() : Tensor(),
                      layer.BackwardReadsH() ? h : Tensor(), dropout.token_keys},
                     [layer](Gradients& g) {
                       LoraLinear::Targets targets = layer.TargetsOf(g, 1);
                       if (g.Needs(0)) targets.dx = g.NewLike(0);
                       layer.Backward(g.context(), g.saved(0), g.saved(1), g.saved(2), g.output(0),
                                      targets);
                       if (targets.dx.defined()) g.Add(0, std::move(targets.dx));
                     })[0];
}

}  // namespace lockstep::autograd
