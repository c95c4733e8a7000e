#include "autograd/ops/normed_mlp.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "tensor/kernels/gemm.h"
#include "tensor/kernels/glu_lora.h"

namespace lockstep::autograd {
namespace {

enum Saved { kGateUp = ResidualHead::kNumSaved, kH, kDownH, kDrops, kDownMask };

bool IsFrozen(const LoraLayer& layer) {
  return !layer.w.needs_grad() && !(layer.bias.defined() && layer.bias.needs_grad());
}

// Both layers, and how they share memory with the gated unit.
struct Mlp {
  LoraLinear gate_up, down;
  kernels::GluActivation activation;

  int64_t width() const { return down.inputs(); }
  kernels::LoraShare Gate(const View& h) const { return gate_up.ShareOfOutputs(h, 0, width()); }
  kernels::LoraShare Up(const View& h) const { return gate_up.ShareOfOutputs(h, width(), width()); }
  // Of down's input.
  kernels::DropoutMask DownMask(const Tensor& bits) const {
    if (down.dropout() == 0 || down.num_adapters() == 0) return {};
    return {bits, down.dropout()};
  }
  Tensor Scratch(const Context& context, int64_t tokens) const {
    int64_t rank = 0;
    for (const kernels::LoraShare& share : {Gate(View{}), Up(View{}), down.ShareOfInputs(View{})}) {
      if (share.b.rank != 0) rank = std::max(rank, share.b.shape[1]);
    }
    return Tensor::Empty(*context.allocator, DType::kF32,
                         {kernels::GluLoraScratch(tokens, width(), rank)});
  }
};

// Turns the saved gate_up into its own gradient, hands in those of down's adapters, and those of B
// of gate and up where each has its own, with dh in the targets then.
LoraLinear::Targets BackwardOfUnit(Gradients& g, const Mlp& mlp, const Tensor& dy) {
  const Context& context = g.context();
  LoraLinear::Targets of_gate_up = mlp.gate_up.TargetsOf(g, ResidualHead::kNumInputs);
  const LoraLinear::Targets of_down =
      mlp.down.TargetsOf(g, ResidualHead::kNumInputs + mlp.gate_up.num_weights());
  const Tensor down_g =
      mlp.down.BackwardOfShares(context, g.saved(kDownH), dy, of_down, /*wants_g=*/true);

  kernels::GluLoraGradients gradients;
  const Tensor dh = g.New(dy.dtype(), {dy.dim(0), mlp.gate_up.total_rank()});
  const auto gate = mlp.gate_up.GradientOfShare(dh, 0, mlp.width(), of_gate_up);
  const auto up = mlp.gate_up.GradientOfShare(dh, mlp.width(), mlp.width(), of_gate_up);
  if (gate.has_value() && up.has_value()) {
    gradients.gate = *gate;
    gradients.up = *up;
    of_gate_up.dh = dh;
  }
  if (mlp.down.num_adapters() == 1 && of_down.weights[2].grad.defined()) {
    gradients.dy_db = kernels::Transposed(of_down.weights[2].grad);
    gradients.accumulate_dy_db = of_down.weights[2].accumulate;
  }
  // Down's input's gradient without LoRA's share, then scratch.
  const Tensor product = g.New(dy.dtype(), {dy.dim(0), mlp.width()});
  mlp.down.base().Inputs(context, dy, product, /*beta=*/0);
  kernels::GluLoraBackward(context.stream, product, mlp.down.ShareOfInputs(down_g),
                           g.saved(kGateUp).Mutable("normed_mlp"), mlp.Gate(g.saved(kH)),
                           mlp.Up(g.saved(kH)), mlp.activation, mlp.DownMask(g.saved(kDownMask)),
                           gradients, mlp.Scratch(context, dy.dim(0)));
  return of_gate_up;
}

void Backward(Gradients& g, const ResidualHead::Gradient& head, const Mlp& mlp) {
  const Tensor dy = g.TakeOutput(1);
  if (!dy.defined()) return head.Backward(g, Tensor());
  LoraLinear::Targets of_gate_up = BackwardOfUnit(g, mlp, dy);
  BackwardOfNormedLinear(g, head, mlp.gate_up, std::move(of_gate_up), g.saved(kH), g.saved(kDrops),
                         g.saved(kGateUp));
}

}  // namespace

bool NormedMlpTakes(DType dtype, const LoraLayer& gate_up, const LoraLayer& down,
                    const LoraDropout& dropout) {
  if (dtype != DType::kBF16 || !IsFrozen(gate_up) || !IsFrozen(down)) return false;
  if (down.adapters.size() > 1) return false;
  const LoraLinear wide(gate_up, {});
  const int64_t width = down.w.value().dim(1);
  for (const LoraAdapter& adapter : down.adapters) {
    const int64_t rank = adapter.a.value().dim(0);
    if (dropout.p > 0 && !kernels::DroppedLoraTakes(dtype, width, rank)) return false;
  }
  return width % 32 == 0 && wide.HasOneShareOfOutputs(0, width) &&
         wide.HasOneShareOfOutputs(width, width) && LoraLinear(down, dropout).HasOneShareOfInputs();
}

NormedResult NormedMlp(Tape& tape, const ResidualInput& in, const LoraLayer& gate_up,
                       const LoraLayer& down, kernels::GluActivation activation,
                       const LoraDropout& dropout, bool ends_segment) {
  const Context& context = tape.context();
  const Mlp mlp = {LoraLinear(gate_up, dropout), LoraLinear(down, dropout), activation};
  CHECK(!tape.WouldRecord({gate_up.w, gate_up.bias, down.w, down.bias}))
      << "[normed_mlp] want frozen weights and biases";
  CHECK_EQ(mlp.gate_up.outputs(), 2 * mlp.width()) << "[normed_mlp] gate_up: want [2F, C]";
  std::vector<Variable> weights;
  for (const LoraLayer* layer : {&gate_up, &down}) {
    const auto more = LoraLinear::Weights(*layer);
    weights.insert(weights.end(), more.begin(), more.end());
  }
  const ResidualHead head(tape, in, weights);
  const auto empty = [&](int64_t width) {
    return Tensor::Empty(*context.allocator, head.sum().dtype(), {head.sum().dim(0), width});
  };
  const Tensor wide = empty(2 * mlp.width()), h = empty(mlp.gate_up.total_rank());
  mlp.gate_up.ForwardOfY(context, head.normed(), /*h=*/{}, wide);
  const Tensor drops = mlp.gate_up.Drops(context, wide.dtype(), dropout.token_keys);
  const Tensor down_mask = mlp.down.Masks(context, dropout.token_keys);
  mlp.gate_up.ForwardOfH(context, head.normed(), drops, h);
  const Tensor y = empty(mlp.down.outputs());
  const auto compute = [&]() -> Tape::Computed {
    const Tensor product = empty(mlp.width()), down_h = empty(mlp.down.total_rank());
    const kernels::LoraShare down_share = mlp.down.ShareOfInputs(down_h);
    kernels::GluLora(context.stream, wide, mlp.Gate(h), mlp.Up(h), activation,
                     mlp.DownMask(down_mask), product, {down_share.h, down_share.b},
                     mlp.Scratch(context, wide.dim(0)));
    mlp.down.ForwardOfY(context, product, down_h, y);
    return {.large = {}, .small = down_h};
  };
  const Tensor down_h = (ends_segment ? tape.ComputeOnce(compute) : compute()).small;
  std::vector<Tensor> saved = head.saved();
  saved.insert(saved.end(), {wide, h, down_h, drops, down_mask});
  const std::vector<Variable> outputs =
      tape.Record("normed_mlp", head.inputs(), {head.sum(), y}, saved,
                  [mlp, gradient = head.gradient()](Gradients& g) { Backward(g, gradient, mlp); });
  return {outputs[0], outputs[1]};
}

}  // namespace lockstep::autograd
