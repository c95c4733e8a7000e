#include "autograd/ops/rope.h"

#include <vector>

#include "autograd/ops/in_place.h"
#include "base/check.h"
#include "tensor/kernels/rope.h"
#include "tensor/kernels/rope_lora.h"

namespace lockstep::autograd {
namespace {

// q, k or v: its heads, and its place among the outputs.
struct Part {
  int64_t heads, first, width;
};

std::vector<Part> PartsOf(const QkvLayout& layout) {
  std::vector<Part> parts;
  int64_t first = 0;
  for (const int64_t heads : {layout.heads, layout.kv_heads, layout.kv_heads}) {
    parts.push_back({heads, first, heads * layout.head_dim});
    first += heads * layout.head_dim;
  }
  return parts;
}

}  // namespace

Tensor RopeTable(const Context& context, const Tensor& positions, const Tensor& inv_freq,
                 const Tensor& row, double attention_factor) {
  const Tensor table =
      Tensor::Empty(*context.allocator, inv_freq.dtype(), {positions.dim(0), inv_freq.dim(1), 2});
  kernels::RopeTable(context.stream, positions, inv_freq, row, attention_factor, table);
  return table;
}

bool RopeTakesShares(DType dtype, const QkvLayout& layout, const Tensor& table,
                     const LoraLayer& qkv) {
  const LoraLinear layer(qkv, {});
  bool takes =
      layer.num_adapters() > 0 && kernels::RopeLoraTakes(dtype, layout.head_dim, table.dim(1));
  for (const Part& part : PartsOf(layout)) {
    takes = takes && layer.HasOneShareOfOutputs(part.first, part.width);
  }
  return takes;
}

Variable Rope(Tape& tape, const Variable& qkv, const QkvLayout& layout, const Tensor& table,
              const PendingShares& pending) {
  CHECK_EQ(qkv.value().dim(1), layout.width()) << "[rope] qkv: " << Describe(qkv.value());
  const Context& context = tape.context();
  const View x = qkv.value().Mutable("rope");
  if (pending.defined()) {
    std::vector<kernels::HeadsShare> shares;
    for (const Part& part : PartsOf(layout)) {
      shares.push_back({part.heads, pending.Of(part.first, part.width)});
    }
    kernels::RopeLora(context.stream, layout.Heads(x, 0, layout.heads + 2 * layout.kv_heads),
                      shares, layout.heads + layout.kv_heads, table);
  } else {
    kernels::Rope(context.stream, layout.QK(x), table, 1);
  }
  return tape.RecordInPlace("rope", qkv, {}, {table}, [layout](Gradients& g) {
    const Tensor dqkv = OwnGradient(g, 0);
    kernels::Rope(g.context().stream, layout.QK(dqkv), g.saved(0), -1);
    g.Add(0, dqkv);
  });
}

}  // namespace lockstep::autograd
