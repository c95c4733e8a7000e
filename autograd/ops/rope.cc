#include "autograd/ops/rope.h"

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

bool RopeTakesShares(DType dtype, const LoraLayer& layer, const QkvLayout& layout,
                     const Tensor& table) {
  const int64_t q = layout.heads * layout.head_dim, kv = layout.kv_heads * layout.head_dim;
  return kernels::RopeLoraTakes(dtype, layout.head_dim, table.dim(1)) && IsOneShare(layer, 0, q) &&
         IsOneShare(layer, q, kv) && IsOneShare(layer, q + kv, kv);
}

Variable Rope(Tape& tape, const Variable& qkv, const QkvLayout& layout, const Tensor& table,
              const PendingShares& pending) {
  CHECK_EQ(qkv.value().dim(1), layout.width()) << "[rope] qkv: " << Describe(qkv.value());
  const Context& context = tape.context();
  const View x = qkv.value().Mutable("rope");
  if (pending.defined()) {
    const int64_t q = layout.heads * layout.head_dim, kv = layout.kv_heads * layout.head_dim;
    kernels::RopeLora(context.stream, layout.Heads(x, 0, layout.heads + 2 * layout.kv_heads),
                      {{layout.heads, pending.Of(0, q)},
                       {layout.kv_heads, pending.Of(q, kv)},
                       {layout.kv_heads, pending.Of(q + kv, kv)}},
                      layout.heads + layout.kv_heads, table);
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
