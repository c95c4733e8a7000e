#include "autograd/ops/normed_mlp.h"

#include <utility>

#include "base/check.h"
#include "tensor/kernels/gemm.h"
#include "tensor/kernels/glu_lora.h"

namespace lockstep::autograd {
namespace {

enum Saved { kGateUp = ResidualHead::kNumSaved, kH, kDownH };

bool IsFrozen(const LoraLayer& layer) {
  return !layer.w.needs_grad() && !(layer.bias.defined() && layer.bias.needs_grad());
}

// Both layers, and how they share memory with the gated unit.
struct Mlp {
  LoraLinear gate_up, down;
  kernels::GluActivation activation;

  int64_t width() const { return down.inputs(); }
  kernels::LoraShare Gate(const View& h) const {
    return gate_up.ShareOfOutputs(h, 0, width(), nullptr);
  }
  kernels::LoraShare Up(const View& h) const {
    return gate_up.ShareOfOutputs(h, width(), width(), nullptr);
  }
};

// Turns the saved gate_up into its own gradient, and hands in those of down's adapters.
const Tensor& BackwardOfUnit(Gradients& g, const Mlp& mlp, const Tensor& dy) {
  const Context& context = g.context();
  const LoraLinear::Targets of_down =
      mlp.down.TargetsOf(g, ResidualHead::kNumInputs + mlp.gate_up.num_weights());
  mlp.down.BackwardOfB(context, g.saved(kDownH), dy, of_down);
  const Tensor down_g = mlp.down.GradientOfH(context, dy);

  // `product` is down's input's gradient without LoRA's share, then that input itself.
  const Tensor product = g.New(dy.dtype(), {dy.dim(0), mlp.width()});
  kernels::Gemm(context.stream, dy, mlp.down.base(), product);
  const Tensor& gate_up = g.saved(kGateUp);
  kernels::GluLoraBackward(context.stream, product, mlp.down.ShareOfInputs(down_g, nullptr),
                           gate_up.Mutable("normed_mlp"), mlp.Gate(g.saved(kH)),
                           mlp.Up(g.saved(kH)), mlp.activation);
  mlp.down.BackwardOfA(context, down_g, product, Tensor(), of_down);
  return gate_up;
}

void Backward(Gradients& g, const ResidualHead::Gradient& head, const Mlp& mlp) {
  const Tensor dy = g.TakeOutput(1);
  if (!dy.defined()) return head.Backward(g, Tensor());
  const Tensor& dgate_up = BackwardOfUnit(g, mlp, dy);
  BackwardOfNormedLinear(g, head, mlp.gate_up, ResidualHead::kNumInputs, g.saved(kH), Tensor(),
                         dgate_up);
}

}  // namespace

bool NormedMlpTakes(DType dtype, const LoraLayer& gate_up, const LoraLayer& down) {
  if (dtype != DType::kBF16 || !IsFrozen(gate_up) || !IsFrozen(down)) return false;
  const int64_t width = down.w.value().dim(1);
  bool down_fits = false;
  LoraLinear(down, {}).ShareOfInputs(View{}, &down_fits);
  return width % 32 == 0 && IsOneShare(gate_up, 0, width) && IsOneShare(gate_up, width, width) &&
         down_fits;
}

NormedResult NormedMlp(Tape& tape, const ResidualInput& in, const LoraLayer& gate_up,
                       const LoraLayer& down, kernels::GluActivation activation,
                       PendingShares* left) {
  const Context& context = tape.context();
  const Mlp mlp = {LoraLinear(gate_up, {}), LoraLinear(down, {}), activation};
  CHECK(!tape.WouldRecord({gate_up.w, gate_up.bias, down.w, down.bias}))
      << "[normed_mlp] want frozen weights and biases";
  CHECK_EQ(mlp.gate_up.outputs(), 2 * mlp.width()) << "[normed_mlp] gate_up: want [2F, C]";
  std::vector<Variable> weights;
  for (const LoraLayer* layer : {&gate_up, &down}) {
    const auto more = LoraLinear::Weights(layer->w, layer->bias, layer->adapters);
    weights.insert(weights.end(), more.begin(), more.end());
  }
  const ResidualHead head(tape, in, weights);
  const auto empty = [&](int64_t width) {
    return Tensor::Empty(*context.allocator, head.sum().dtype(), {head.sum().dim(0), width});
  };
  const Tensor wide = empty(2 * mlp.width()), h = empty(mlp.gate_up.total_rank());
  mlp.gate_up.ForwardBase(context, head.normed(), Tensor(), wide, h);
  const Tensor product = empty(mlp.width());
  kernels::GluLora(context.stream, wide, mlp.Gate(h), mlp.Up(h), activation, product);
  const Tensor y = empty(mlp.down.outputs()), down_h = empty(mlp.down.total_rank());
  mlp.down.ForwardBase(context, product, Tensor(), y, down_h);
  if (left != nullptr) {
    *left = {mlp.down, down_h};
  } else {
    mlp.down.AddShares(context, down_h, y);
  }
  std::vector<Tensor> saved = head.saved();
  saved.insert(saved.end(), {wide, h, down_h});
  const std::vector<Variable> outputs =
      tape.Record("normed_mlp", head.inputs(), {head.sum(), y}, saved,
                  [mlp, gradient = head.gradient()](Gradients& g) { Backward(g, gradient, mlp); });
  return {outputs[0], outputs[1]};
}

}  // namespace lockstep::autograd
