#include "autograd/ops/dora.h"

#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "tensor/kernels/accumulate.h"
#include "tensor/kernels/cast.h"
#include "tensor/kernels/column_sum.h"
#include "tensor/kernels/dora.h"
#include "tensor/kernels/dropout.h"
#include "tensor/kernels/fill.h"
#include "tensor/kernels/gemm.h"
#include "tensor/kernels/scale.h"

namespace lockstep::autograd {
namespace {

using kernels::Gemm;
using kernels::Transposed;

// An adapter with a magnitude.
struct Target {
  int input;           // of the op: its magnitude
  int64_t first, end;  // its outputs
  uint64_t dropout_key;

  View Columns(const View& x) const { return x.Slice(1, first, end); }
};

// y = −x, for y that may be x.
void Negate(const Context& context, const View& x, const View& y) {
  const Tensor minus = Tensor::Empty(*context.allocator, DType::kF64, {1});
  kernels::Fill(context.stream, minus.Mutable("dora"), -1.0);
  kernels::Scale(context.stream, x, minus, /*accumulate=*/false, y);
}

// m − n, of two vectors.
Tensor Difference(const Context& context, const Tensor& m, const Tensor& n) {
  const Tensor out = Tensor::Empty(*context.allocator, m.dtype(), {m.dim(0)});
  Negate(context, n, out.Mutable("dora"));
  kernels::Accumulate(context.stream, m, out.Mutable("dora"));
  return out;
}

// The dropped input's way: v = (dropout_i(input) − input) W_iᵀ and back.
class DroppedInput {
 public:
  DroppedInput(const Tensor& w, std::vector<Target> targets, const LoraDropout& dropout)
      : w_(w), targets_(std::move(targets)), dropout_(dropout) {}

  Tensor Forward(const Context& context, const Tensor& input) const {
    const Tensor v = Tensor::Empty(*context.allocator, input.dtype(), {input.dim(0), w_.dim(0)});
    const Tensor e = Tensor::Empty(*context.allocator, input.dtype(), {input.dim(0), input.dim(1)});
    kernels::Fill(context.stream, v.Mutable("dora"), 0.0);
    for (const Target& target : targets_) {
      Negate(context, input, e.Mutable("dora"));
      AddDropout(context, target, input, e.Mutable("dora"));
      Gemm(context.stream, e, Transposed(Rows(target)), target.Columns(v.Mutable("dora")));
    }
    return v;
  }

  // The gradient of the input from that of v.
  Tensor Backward(const Context& context, const Tensor& dv) const {
    const Tensor dx = Tensor::Empty(*context.allocator, dv.dtype(), {dv.dim(0), w_.dim(1)});
    const Tensor t = Tensor::Empty(*context.allocator, dv.dtype(), {dv.dim(0), w_.dim(1)});
    kernels::Fill(context.stream, dx.Mutable("dora"), 0.0);
    for (const Target& target : targets_) {
      Gemm(context.stream, target.Columns(dv), Rows(target), t.Mutable("dora"));
      AddDropout(context, target, t, dx.Mutable("dora"));
      Negate(context, t, t.Mutable("dora"));
      kernels::Accumulate(context.stream, t, dx.Mutable("dora"));
    }
    return dx;
  }

 private:
  View Rows(const Target& target) const { return w_.Slice(0, target.first, target.end); }
  void AddDropout(const Context& context, const Target& target, const View& x,
                  const View& y) const {
    kernels::Dropout(context.stream, x, dropout_.token_keys, y,
                     {.p = dropout_.p, .key = target.dropout_key, .accumulate = true});
  }

  Tensor w_;
  std::vector<Target> targets_;
  LoraDropout dropout_;
};

// m and ‖W + s·B·A‖ of all outputs, which are 1 where there is no magnitude.
struct Scaling {
  Tensor m, norm;  // [N]
  std::vector<Target> targets;

  // magnitudes[i] is the op's input first_input + i.
  Scaling(const Context& context, const Tensor& w, absl::Span<const LoraAdapter> adapters,
          absl::Span<const Variable> magnitudes, int first_input, DType dtype)
      : m(Tensor::Empty(*context.allocator, dtype, {w.dim(0)})),
        norm(Tensor::Empty(*context.allocator, dtype, {w.dim(0)})) {
    kernels::Fill(context.stream, m.Mutable("dora"), 1.0);
    kernels::Fill(context.stream, norm.Mutable("dora"), 1.0);
    for (size_t i = 0; i < adapters.size(); ++i) {
      if (!magnitudes[i].defined()) continue;
      const LoraAdapter& adapter = adapters[i];
      const int64_t first = adapter.first, end = first + adapter.b.value().dim(0);
      kernels::Cast(context.stream, magnitudes[i].value(), m.Slice(0, first, end).Mutable("dora"));
      kernels::DoraNorm(context.stream, w.Slice(0, first, end), adapter.a.value(),
                        adapter.b.value(), adapter.scale,
                        norm.Slice(0, first, end).Mutable("dora"));
      targets.push_back({first_input + static_cast<int>(i), first, end, adapter.dropout_key});
    }
  }
};

enum Input { kX, kBias, kDroppedInput, kMagnitudes };
enum Saved { kSavedX, kM, kNorm, kV };

void Backward(Gradients& g, const std::vector<Target>& targets, const DroppedInput* dropped) {
  const Stream& stream = g.context().stream;
  const Tensor& dy = g.output(0);
  const Tensor &m = g.saved(kM), &norm = g.saved(kNorm);
  if (g.Needs(kBias)) {
    const LeafTarget dbias = g.Target(kBias);
    kernels::ColumnSum(stream, dy, dbias.accumulate, dbias.grad);
  }
  const Tensor dx = g.NewLike(kX);
  const Tensor dm = g.New(m.dtype(), {dy.dim(1)});
  kernels::DoraBackward(stream, dy, g.saved(kSavedX), m, norm, dx, /*accumulate=*/false, dm);
  if (dropped != nullptr) {
    const Tensor dv = g.NewLike(kX);
    kernels::DoraBackward(stream, dy, g.saved(kV), Difference(g.context(), m, norm), norm, dv,
                          /*accumulate=*/true, dm);
    if (g.Needs(kDroppedInput)) g.Add(kDroppedInput, dropped->Backward(g.context(), dv));
  }
  for (const Target& range : targets) {
    if (!g.Needs(range.input)) continue;
    const LeafTarget target = g.Target(range.input);
    const Tensor part = dm.Slice(0, range.first, range.end);
    if (target.accumulate) {
      kernels::Accumulate(stream, part, target.grad);
    } else {
      kernels::Cast(stream, part, target.grad);
    }
  }
  g.Add(kX, dx);
}

}  // namespace

Variable Dora(Tape& tape, const Variable& x, const Variable& w, const Variable& bias,
              absl::Span<const LoraAdapter> adapters, absl::Span<const Variable> magnitudes,
              const Variable& input, const LoraDropout& dropout) {
  CHECK_EQ(adapters.size(), magnitudes.size()) << "[dora] want a magnitude for each adapter";
  const bool drops = dropout.p > 0;
  CHECK(!drops || (input.defined() && !w.needs_grad())) << "[dora] dropout needs the input";
  const Context& context = tape.context();
  const Tensor& in = x.value();
  const Scaling scaling(context, w.value(), adapters, magnitudes, kMagnitudes,
                        AccumulateType(in.dtype()));
  const Tensor y = Tensor::Empty(*context.allocator, in.dtype(), {in.dim(0), in.dim(1)});
  kernels::DoraForward(context.stream, in, scaling.m, scaling.norm,
                       bias.defined() ? bias.value().view() : View{}, y);
  std::vector<Tensor> saved = {in, scaling.m, scaling.norm};
  std::optional<DroppedInput> dropped;
  if (drops) {
    dropped.emplace(w.value(), scaling.targets, dropout);
    const Tensor v = dropped->Forward(context, input.value());
    const Tensor more = Tensor::Empty(*context.allocator, v.dtype(), {v.dim(0), v.dim(1)});
    kernels::DoraForward(context.stream, v, Difference(context, scaling.m, scaling.norm),
                         scaling.norm, View{}, more);
    kernels::Accumulate(context.stream, more, y.Mutable("dora"));
    saved.push_back(v);
  }
  std::vector<Variable> inputs = {x, bias, drops ? input : Variable()};
  inputs.insert(inputs.end(), magnitudes.begin(), magnitudes.end());
  return tape.Record("dora", inputs, {y}, saved,
                     [targets = scaling.targets, dropped](Gradients& g) {
                       Backward(g, targets, dropped.has_value() ? &*dropped : nullptr);
                     })[0];
}

}  // namespace lockstep::autograd
