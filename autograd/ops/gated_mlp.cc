#include "autograd/ops/gated_mlp.h"

#include <algorithm>
#include <utility>

#include "autograd/ops/lora_product.h"
#include "base/check.h"
#include "tensor/kernels/gemm.h"
#include "tensor/kernels/glu_lora.h"

namespace lockstep::autograd {
namespace {

enum Saved { kX, kGateUp, kH, kDownH };

LoraLinear LinearOf(const LoraLayer& layer) {
  return LoraLinear(layer.w, layer.bias, layer.adapters, {});
}

bool IsFrozen(const LoraLayer& layer) {
  return !layer.w.needs_grad() && !(layer.bias.defined() && layer.bias.needs_grad());
}

bool RanksFit(const LoraLayer& layer) {
  return std::all_of(layer.adapters.begin(), layer.adapters.end(), [](const LoraAdapter& adapter) {
    const int64_t rank = adapter.a.value().dim(0);
    return rank % 2 == 0 && rank <= kernels::kGluLoraMaxRank;
  });
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

LoraLinear::Targets TargetsOf(Gradients& g, const LoraLinear& layer, int first_input) {
  LoraLinear::Targets targets;
  for (int i = first_input; i < first_input + layer.num_weights(); ++i) {
    targets.weights.push_back(g.Needs(i) ? g.Target(i) : LeafTarget{});
  }
  return targets;
}

void Backward(Gradients& g, const Mlp& mlp) {
  const Context& context = g.context();
  const Tensor& dy = g.output(0);
  const LoraLinear::Targets of_down = TargetsOf(g, mlp.down, 1 + mlp.gate_up.num_weights());
  mlp.down.BackwardOfB(context, g.saved(kDownH), dy, of_down);
  const Tensor down_g = mlp.down.GradientOfH(context, dy);

  // `product` is down's input's gradient without LoRA's share, then that input itself; `gate_up`
  // becomes its own gradient.
  const Tensor product = g.New(dy.dtype(), {dy.dim(0), mlp.width()});
  kernels::Gemm(context.stream, dy, mlp.down.base(), product);
  const Tensor& gate_up = g.saved(kGateUp);
  kernels::GluLoraBackward(context.stream, product, mlp.down.ShareOfInputs(down_g, nullptr),
                           gate_up.Mutable("gated_mlp"), mlp.Gate(g.saved(kH)), mlp.Up(g.saved(kH)),
                           mlp.activation);
  mlp.down.BackwardOfA(context, down_g, product, Tensor(), of_down);

  LoraLinear::Targets of_gate_up = TargetsOf(g, mlp.gate_up, 1);
  if (g.Needs(0)) of_gate_up.dx = g.NewLike(0);
  mlp.gate_up.Backward(context, g.saved(kX), g.saved(kH), Tensor(), gate_up, of_gate_up);
  if (of_gate_up.dx.defined()) g.Add(0, std::move(of_gate_up.dx));
}

}  // namespace

bool GatedMlpTakes(DType dtype, const LoraLayer& gate_up, const LoraLayer& down) {
  if (dtype != DType::kBF16 || !IsFrozen(gate_up) || !IsFrozen(down)) return false;
  const int64_t width = down.w.value().dim(1);
  const LoraLinear both = LinearOf(gate_up);
  bool gate_fits, up_fits, down_fits;
  both.ShareOfOutputs(View{}, 0, width, &gate_fits);
  both.ShareOfOutputs(View{}, width, width, &up_fits);
  LinearOf(down).ShareOfInputs(View{}, &down_fits);
  return width % 32 == 0 && gate_fits && up_fits && down_fits && RanksFit(gate_up) &&
         RanksFit(down);
}

Variable GatedMlp(Tape& tape, const Variable& x, const LoraLayer& gate_up, const LoraLayer& down,
                  kernels::GluActivation activation) {
  const Context& context = tape.context();
  const Mlp mlp = {LinearOf(gate_up), LinearOf(down), activation};
  CHECK(!tape.WouldRecord({gate_up.w, gate_up.bias, down.w, down.bias}))
      << "[gated_mlp] want frozen weights and biases";
  CHECK_EQ(mlp.gate_up.outputs(), 2 * mlp.width()) << "[gated_mlp] gate_up: want [2F, C]";
  const int64_t tokens = x.value().dim(0);
  const auto empty = [&](int64_t width) {
    return Tensor::Empty(*context.allocator, x.value().dtype(), {tokens, width});
  };
  const Tensor wide = empty(2 * mlp.width()), h = empty(mlp.gate_up.total_rank());
  mlp.gate_up.ForwardBase(context, x.value(), Tensor(), wide, h);
  const Tensor product = empty(mlp.width());
  kernels::GluLora(context.stream, wide, mlp.Gate(h), mlp.Up(h), activation, product);
  const Tensor y = empty(mlp.down.outputs()), down_h = empty(mlp.down.total_rank());
  mlp.down.Forward(context, product, Tensor(), y, down_h);

  std::vector<Variable> inputs = {x};
  for (const LoraLayer* layer : {&gate_up, &down}) {
    const auto weights = LoraLinear::Weights(layer->w, layer->bias, layer->adapters);
    inputs.insert(inputs.end(), weights.begin(), weights.end());
  }
  return tape.Record("gated_mlp", inputs, {y},
                     {mlp.gate_up.BackwardReadsX() ? x.value() : Tensor(), wide, h, down_h},
                     [mlp](Gradients& g) { Backward(g, mlp); })[0];
}

}  // namespace lockstep::autograd
