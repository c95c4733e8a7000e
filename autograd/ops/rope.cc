#include "autograd/ops/rope.h"

#include <vector>

#include "autograd/ops/in_place.h"
#include "base/check.h"
#include "tensor/kernels/rope.h"
#include "tensor/kernels/rope_lora.h"

namespace lockstep::autograd {

Tensor RopeTable(const Context& context, const Tensor& positions, const Tensor& inv_freq,
                 const Tensor& row, double attention_factor) {
  const Tensor table =
      Tensor::Empty(*context.allocator, inv_freq.dtype(), {positions.dim(0), inv_freq.dim(1), 2});
  kernels::RopeTable(context.stream, positions, inv_freq, row, attention_factor, table);
  return table;
}

Variable Rope(Tape& tape, const LinearOutput& qkv, const QkvLayout& layout, const Tensor& table) {
  CHECK_EQ(qkv.y.value().dim(1), layout.width()) << "[rope] qkv: " << Describe(qkv.y.value());
  const Context& context = tape.context();
  const View x = qkv.y.value().Mutable("rope");
  std::vector<kernels::HeadsShare> parts;
  bool takes_shares =
      qkv.pending.defined() && kernels::RopeLoraTakes(x.dtype, layout.head_dim, table.dim(1));
  int64_t first = 0;
  for (const int64_t heads : {layout.heads, layout.kv_heads, layout.kv_heads}) {
    const int64_t width = heads * layout.head_dim;
    takes_shares = takes_shares && qkv.pending.IsOne(first, width);
    parts.push_back({heads, qkv.pending.Of(first, width)});
    first += width;
  }
  if (takes_shares) {
    kernels::RopeLora(context.stream, layout.Heads(x, 0, layout.heads + 2 * layout.kv_heads), parts,
                      layout.heads + layout.kv_heads, table);
  } else {
    kernels::Rope(context.stream, layout.QK(qkv.Whole(context).value()), table, 1);
  }
  return tape.RecordInPlace("rope", qkv.y, {}, {table}, [layout](Gradients& g) {
    const Tensor dqkv = OwnGradient(g, 0);
    kernels::Rope(g.context().stream, layout.QK(dqkv), g.saved(0), -1);
    g.Add(0, dqkv);
  });
}

}  // namespace lockstep::autograd
