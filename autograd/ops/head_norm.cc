#include "autograd/ops/head_norm.h"

#include "autograd/ops/in_place.h"
#include "base/check.h"
#include "tensor/kernels/cast.h"

namespace lockstep::autograd {
namespace {

enum Input { kQkv, kQWeight, kKWeight };
enum Saved { kQK, kQRstd, kKRstd };

}  // namespace

Variable HeadNorm(Tape& tape, const Variable& qkv, const Variable& q_weight,
                  const Variable& k_weight, const QkvLayout& layout,
                  const RmsNormOptions& options) {
  const Context& context = tape.context();
  CHECK_EQ(qkv.value().dim(1), layout.width()) << "[head_norm] qkv: " << Describe(qkv.value());
  const DType dtype = qkv.value().dtype();
  const int64_t tokens = qkv.value().dim(0), heads = layout.heads, kv_heads = layout.kv_heads;
  Tensor before, q_rstd, k_rstd;
  const View& x = qkv.value().Mutable("head_norm");
  if (tape.WouldRecord({qkv, q_weight, k_weight})) {
    before = Tensor::Empty(*context.allocator, dtype, {tokens, heads + kv_heads, layout.head_dim});
    kernels::Cast(context.stream, layout.QK(x), before);
    q_rstd = NewRstd(*context.allocator, dtype, {tokens, heads});
    k_rstd = NewRstd(*context.allocator, dtype, {tokens, kv_heads});
  }
  const auto norm = [&](const View& slice, const Variable& weight, const Tensor& rstd) {
    kernels::RmsNorm(context.stream, slice, weight.value(), options, slice, rstd);
  };
  norm(layout.Q(x), q_weight, q_rstd);
  norm(layout.K(x), k_weight, k_rstd);
  return tape.RecordInPlace(
      "head_norm", qkv, {q_weight, k_weight}, {before, q_rstd, k_rstd},
      [layout, options](Gradients& g) {
        const Tensor dqkv = OwnGradient(g, kQkv);
        const Tensor& before = g.saved(kQK);
        const auto backward = [&](Input weight, const View& slice, const Tensor& x, Saved rstd) {
          BackwardOfRmsNorm(g, weight, slice, x, g.saved(rstd), options, View{}, slice);
        };
        const int64_t all = layout.heads + layout.kv_heads;
        backward(kQWeight, layout.Q(dqkv), before.Slice(1, 0, layout.heads), kQRstd);
        backward(kKWeight, layout.K(dqkv), before.Slice(1, layout.heads, all), kKRstd);
        g.Add(kQkv, dqkv);
      });
}

}  // namespace lockstep::autograd
