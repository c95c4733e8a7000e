#include "autograd/ops/dora.h"

#include <vector>

#include "base/check.h"
#include "tensor/kernels/accumulate.h"
#include "tensor/kernels/cast.h"
#include "tensor/kernels/column_sum.h"
#include "tensor/kernels/dora.h"
#include "tensor/kernels/fill.h"

namespace lockstep::autograd {
namespace {

// Outputs [first, end) that input `input` of the op scales.
struct Range {
  int input;
  int64_t first, end;
};

}  // namespace

Variable Dora(Tape& tape, const Variable& x, const Variable& w, const Variable& bias,
              absl::Span<const LoraAdapter> adapters, absl::Span<const Variable> magnitudes) {
  CHECK_EQ(adapters.size(), magnitudes.size()) << "[dora] want a magnitude for each adapter";
  const Context& context = tape.context();
  const int64_t outputs = x.value().dim(1);
  const DType dtype = x.value().dtype() == DType::kF64 ? DType::kF64 : DType::kF32;
  const Tensor m = Tensor::Empty(*context.allocator, dtype, {outputs});
  const Tensor norm = Tensor::Empty(*context.allocator, dtype, {outputs});
  kernels::Fill(context.stream, m, 1.0);
  kernels::Fill(context.stream, norm, 1.0);
  std::vector<Variable> inputs = {x, bias};
  std::vector<Range> ranges;
  for (size_t i = 0; i < adapters.size(); ++i) {
    inputs.push_back(magnitudes[i]);
    if (!magnitudes[i].defined()) continue;
    const LoraAdapter& adapter = adapters[i];
    const Range range = {static_cast<int>(inputs.size()) - 1, adapter.first,
                         adapter.first + adapter.b.value().dim(0)};
    kernels::Cast(context.stream, magnitudes[i].value(), m.Slice(0, range.first, range.end));
    kernels::DoraNorm(context.stream, w.value().Slice(0, range.first, range.end), adapter.a.value(),
                      adapter.b.value(), adapter.scale, norm.Slice(0, range.first, range.end));
    ranges.push_back(range);
  }
  const Tensor y =
      Tensor::Empty(*context.allocator, x.value().dtype(), {x.value().dim(0), outputs});
  kernels::DoraForward(context.stream, x.value(), m, norm,
                       bias.defined() ? bias.value().view() : View{}, y);
  return tape.Record("dora", inputs, {y}, {x.value(), m, norm}, [ranges](Gradients& g) {
    const Stream& stream = g.context().stream;
    const Tensor& dy = g.output(0);
    if (g.Needs(1)) {
      const LeafTarget dbias = g.Target(1);
      kernels::ColumnSum(stream, dy, dbias.accumulate, dbias.grad);
    }
    const Tensor dx = g.NewLike(0);
    const Tensor dm = g.New(g.saved(1).dtype(), {dy.dim(1)});
    kernels::DoraBackward(stream, dy, g.saved(0), g.saved(1), g.saved(2), dx, false, dm);
    for (const Range& range : ranges) {
      if (!g.Needs(range.input)) continue;
      const LeafTarget target = g.Target(range.input);
      const Tensor part = dm.Slice(0, range.first, range.end);
      if (target.accumulate) {
        kernels::Accumulate(stream, part, target.grad);
      } else {
        kernels::Cast(stream, part, target.grad);
      }
    }
    g.Add(0, dx);
  })[0];
}

}  // namespace lockstep::autograd
