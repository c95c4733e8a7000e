#include "autograd/ops/lora_product.h"

#include <algorithm>
#include <optional>

#include "base/check.h"
#include "tensor/kernels/column_sum.h"
#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/dropout.h"
#include "tensor/kernels/fill.h"
#include "tensor/kernels/gemm.h"
#include "tensor/kernels/lora_gradients.h"

namespace lockstep::autograd {
namespace {

using kernels::Gemm;
using kernels::Transposed;

// The rows of `above`, then those of `below`, if they lie so in memory.
std::optional<View> Joined(const View& above, const View& below) {
  const View end = above.Slice(0, above.shape[0], above.shape[0]);
  if (above.dtype != below.dtype || above.shape[1] != below.shape[1] || !above.contiguous() ||
      !below.contiguous() || end.data != below.data) {
    return std::nullopt;
  }
  View both = above;
  both.shape[0] += below.shape[0];
  return both;
}

View Columns(const View& x, int64_t begin, int64_t count) {
  return x.Slice(1, begin, begin + count);
}

double BetaOf(const LeafTarget& target) { return target.accumulate ? 1 : 0; }

}  // namespace

LoraLinear::LoraLinear(const LoraLayer& layer, const LoraDropout& dropout)
    : w_(layer.w.value(), layer.image), p_(dropout.p), trains_w_(layer.w.needs_grad()) {
  if (layer.bias.defined()) bias_ = layer.bias.value();
  for (const LoraAdapter& adapter : layer.adapters) {
    const View& a = adapter.a.value();
    const View& b = adapter.b.value();
    CHECK_SHAPE("linear_lora", "lora_A", a, a.shape[0], inputs());
    CHECK_SHAPE("linear_lora", "lora_B", b, b.shape[0], a.shape[0]);
    CHECK(adapter.first >= 0 && adapter.first + b.shape[0] <= outputs())
        << "[linear_lora] lora_B: " << Describe(b) << " from output " << adapter.first
        << " does not fit in W, " << Describe(layer.w.value());
    adapters_.push_back({a, b, adapter.scale, adapter.first, adapter.dropout_key, total_rank_});
    total_rank_ += a.shape[0];
    trains_a_ = trains_a_ || adapter.a.needs_grad();
    trains_b_ = trains_b_ || adapter.b.needs_grad();
  }
}

std::vector<Variable> LoraLinear::Weights(const LoraLayer& layer) {
  std::vector<Variable> weights = {layer.w, layer.bias};
  for (const LoraAdapter& adapter : layer.adapters) {
    weights.push_back(adapter.a);
    weights.push_back(adapter.b);
  }
  return weights;
}

std::vector<LoraLinear::Group> LoraLinear::Groups() const {
  std::vector<Group> groups;
  for (size_t i = 0; i < adapters_.size(); ++i) {
    const Adapter& adapter = adapters_[i];
    if (!groups.empty() && p_ == 0) {  // dropout gives each adapter an x of its own
      if (const auto both = Joined(groups.back().a, adapter.a); both.has_value()) {
        groups.back().a = *both;
        groups.back().end = i + 1;
        continue;
      }
    }
    groups.push_back({i, i + 1, adapter.a, adapter.column});
  }
  return groups;
}

bool LoraLinear::TakesMasks(DType dtype) const {
  bool takes = p_ > 0;
  for (const Adapter& adapter : adapters_) {
    takes = takes && kernels::DroppedLoraTakes(dtype, inputs(), adapter.rank());
  }
  return takes;
}

Tensor LoraLinear::Drops(const Context& context, DType dtype, const Tensor& token_keys) const {
  return TakesMasks(dtype) ? Masks(context, token_keys) : token_keys;
}

Tensor LoraLinear::Masks(const Context& context, const Tensor& token_keys) const {
  if (p_ == 0 || adapters_.empty()) return Tensor();
  const int64_t tokens = token_keys.dim(0), bytes = kernels::DropoutMaskBytes(inputs());
  const Tensor masks =
      Tensor::Empty(*context.allocator, DType::kU8, {num_adapters() * tokens, bytes});
  for (int i = 0; i < num_adapters(); ++i) {
    kernels::DrawDropout(context.stream, token_keys, adapters_[i].dropout_key,
                         {masks.Slice(0, i * tokens, (i + 1) * tokens).Mutable("masks"), p_});
  }
  return masks;
}

std::vector<kernels::DroppedPart> LoraLinear::DroppedParts(const View& h,
                                                           const Tensor& drops) const {
  const int64_t tokens = h.shape[0];
  std::vector<kernels::DroppedPart> parts;
  for (int i = 0; i < num_adapters(); ++i) {
    const Adapter& adapter = adapters_[i];
    parts.push_back({adapter.a,
                     Columns(h, adapter.column, adapter.rank()),
                     {drops.Slice(0, i * tokens, (i + 1) * tokens), p_}});
  }
  return parts;
}

// dropout_i(x), in `memory`; x itself where nothing is dropped.
View LoraLinear::DropoutOf(const Context& context, const Group& group, const View& x,
                           const Tensor& drops, Tensor& memory) const {
  if (p_ == 0) return x;
  memory = Tensor::Empty(*context.allocator, x.dtype, {x.shape[0], x.shape[1]});
  kernels::Dropout(context.stream, x, drops, memory.Mutable("dropout"),
                   {.p = p_, .key = adapters_[group.begin].dropout_key});
  return memory;
}

void LoraLinear::ForwardOfH(const Context& context, const View& x, const Tensor& drops,
                            const View& h) const {
  if (TakesMasks(x.dtype)) {
    return kernels::DroppedInputs(context.stream, x, DroppedParts(h, drops));
  }
  for (const Group& group : Groups()) {
    Tensor memory;
    Gemm(context.stream, DropoutOf(context, group, x, drops, memory), Transposed(group.a),
         Columns(h, group.column, group.a.shape[0]));
  }
}

void LoraLinear::ForwardOfY(const Context& context, const View& x, const View& h,
                            const View& y) const {
  const bool begun = SharesOfY(context, h, y);
  w_.Outputs(context, x, y, begun ? 1.0 : 0.0, bias_);
}

// Whether there are any. Outputs that no adapter reaches are zero then.
bool LoraLinear::SharesOfY(const Context& context, const View& h, const View& y) const {
  if (h.rank == 0 || adapters_.empty()) return false;
  int64_t begun = 0;  // outputs before it are written
  const auto zeros_to = [&](int64_t end) {
    if (end > begun) kernels::Fill(context.stream, Columns(y, begun, end - begun), 0);
    begun = std::max(begun, end);
  };
  for (const Adapter& adapter : adapters_) {
    const bool joins_others = adapter.first < begun;
    zeros_to(joins_others ? adapter.end() : adapter.first);
    Gemm(context.stream, Columns(h, adapter.column, adapter.rank()), Transposed(adapter.b),
         Columns(y, adapter.first, adapter.b.shape[0]),
         {.alpha = adapter.scale, .beta = joins_others ? 1.0 : 0.0});
    begun = std::max(begun, adapter.end());
  }
  zeros_to(outputs());
  return true;
}

LoraLinear::Targets LoraLinear::TargetsOf(Gradients& g, int first_input) const {
  Targets targets;
  for (int i = first_input; i < first_input + num_weights(); ++i) {
    targets.weights.push_back(g.Needs(i) ? g.Target(i) : LeafTarget{});
  }
  return targets;
}

void LoraLinear::Backward(const Context& context, const Input& x, const Tensor& h,
                          const Tensor& drops, const Tensor& dy, const Targets& targets) const {
  const LeafTarget& dw = targets.weights[0];
  const LeafTarget& dbias = targets.weights[1];
  if (dw.grad.defined()) {
    Gemm(context.stream, Transposed(dy), x.x, dw.grad, {.beta = BetaOf(dw)});
  }
  if (dbias.grad.defined()) {
    kernels::ColumnSum(context.stream, dy, dbias.accumulate, dbias.grad);
  }
  const bool wants_g = trains_a_ || targets.dx.defined();
  const Tensor g =
      targets.dh.defined() ? targets.dh : BackwardOfShares(context, h, dy, targets, wants_g);
  if (trains_a_) BackwardOfA(context, g, x, drops, targets);
  if (targets.dx.defined()) BackwardOfX(context, g, drops, dy, targets.dx);
}

Tensor LoraLinear::BackwardOfShares(const Context& context, const View& h, const Tensor& dy,
                                    const Targets& targets, bool wants_g) const {
  if (adapters_.empty()) return Tensor();
  Tensor g;
  if (wants_g) g = Tensor::Empty(*context.allocator, dy.dtype(), {dy.dim(0), total_rank_});
  std::vector<kernels::LoraPart> parts;
  for (size_t i = 0; i < adapters_.size(); ++i) {
    const Adapter& adapter = adapters_[i];
    const LeafTarget& db = targets.weights[3 + 2 * i];
    kernels::LoraPart part = {adapter.first, {{}, adapter.b, adapter.scale}, {}};
    if (wants_g) part.gradient.dh = Columns(g, adapter.column, adapter.rank());
    if (db.grad.defined()) {
      part.share.h = Columns(h, adapter.column, adapter.rank());
      part.gradient.db = db.grad;
      part.gradient.accumulate = db.accumulate;
    }
    parts.push_back(part);
  }
  const Tensor scratch = Tensor::Empty(*context.allocator, DType::kF32,
                                       {kernels::LoraGradientsScratch(dy.dim(0), parts)});
  kernels::LoraGradients(context.stream, dy, parts, scratch);
  return g;
}

bool LoraLinear::TakesNorm(DType dtype, const Targets& targets) const {
  if (!trains_a_ || trains_w_) return false;
  if (TakesMasks(dtype)) return true;
  const std::vector<Group> groups = Groups();
  return p_ == 0 && groups.size() == 1 && JoinedTarget(groups[0], targets).has_value() &&
         kernels::NormedProductTakes(dtype, inputs(), total_rank_);
}

void LoraLinear::BackwardOfA(const Context& context, const View& g, const Input& x,
                             const Tensor& drops, const Targets& targets) const {
  if (TakesMasks(g.dtype)) {
    std::vector<kernels::DroppedPart> parts = DroppedParts(g, drops);
    for (size_t i = 0; i < parts.size(); ++i) {
      const LeafTarget& da = targets.weights[2 + 2 * i];
      if (!da.grad.defined()) continue;
      parts[i].da = da.grad;
      parts[i].accumulate = da.accumulate;
    }
    const int64_t numel = kernels::DroppedGradientsScratch(g.shape[0], inputs());
    const kernels::NormedMatrix plain = {.x = x.x};
    return kernels::DroppedGradients(context.stream, x.norm.x.rank != 0 ? x.norm : plain, parts,
                                     Tensor::Empty(*context.allocator, DType::kF32, {numel}));
  }
  if (x.norm.x.rank != 0) {
    const int64_t numel = kernels::NormedProductScratch(g.shape[0], inputs(), total_rank_);
    kernels::NormedProduct(context.stream, g, x.norm, *JoinedTarget(Groups()[0], targets),
                           targets.weights[2].accumulate,
                           Tensor::Empty(*context.allocator, DType::kF32, {numel}));
    return;
  }
  for (const Group& group : Groups()) {
    Tensor memory;
    BackwardOfGroup(context, group, Columns(g, group.column, group.a.shape[0]),
                    DropoutOf(context, group, x.x, drops, memory), targets);
  }
}

bool LoraLinear::HasOneShareOfOutputs(int64_t first, int64_t count) const {
  int reaching = 0;
  for (const Adapter& adapter : adapters_) {
    if (!adapter.Reaches(first, count)) continue;
    if (!adapter.Covers(first, count) || !kernels::LoraShareFits(adapter.rank())) return false;
    ++reaching;
  }
  return reaching <= 1;
}

kernels::LoraShare LoraLinear::ShareOfOutputs(const View& h, int64_t first, int64_t count) const {
  kernels::LoraShare share;
  for (const Adapter& adapter : adapters_) {
    if (!adapter.Covers(first, count)) continue;
    share.b = adapter.b.Slice(0, first - adapter.first, first - adapter.first + count);
    share.scale = adapter.scale;
    if (h.rank != 0) share.h = Columns(h, adapter.column, adapter.rank());
  }
  return share;
}

std::optional<kernels::LoraShareGradient> LoraLinear::GradientOfShare(
    const View& dh, int64_t first, int64_t count, const Targets& targets) const {
  kernels::LoraShareGradient gradient;
  for (size_t i = 0; i < adapters_.size(); ++i) {
    const Adapter& adapter = adapters_[i];
    if (!adapter.Reaches(first, count)) continue;
    const bool alone =
        adapter.first == first && adapter.end() == first + count && gradient.dh.rank == 0;
    if (!alone) return std::nullopt;
    gradient.dh = Columns(dh, adapter.column, adapter.rank());
    const LeafTarget& db = targets.weights[3 + 2 * i];
    if (!db.grad.defined()) continue;
    gradient.db = db.grad;
    gradient.accumulate = db.accumulate;
  }
  return gradient;
}

bool LoraLinear::HasOneShareOfInputs() const {
  const std::vector<Group> groups = Groups();
  return groups.empty() || (groups.size() == 1 && kernels::LoraShareFits(groups[0].a.shape[0]));
}

kernels::LoraShare LoraLinear::ShareOfInputs(const View& g) const {
  const std::vector<Group> groups = Groups();
  kernels::LoraShare share;
  if (groups.empty()) return share;
  share.b = Transposed(groups[0].a);
  if (g.rank != 0) share.h = Columns(g, groups[0].column, groups[0].a.shape[0]);
  return share;
}

// The gradients of the group's A_i as one matrix, where they lie like the A_i.
std::optional<View> LoraLinear::JoinedTarget(const Group& group, const Targets& targets) const {
  const LeafTarget& first = targets.weights[2 + 2 * group.begin];
  std::optional<View> joined;
  if (first.grad.defined()) joined = first.grad.view();
  for (size_t i = group.begin + 1; i < group.end && joined.has_value(); ++i) {
    const LeafTarget& da = targets.weights[2 + 2 * i];
    const bool alike = da.grad.defined() && da.accumulate == first.accumulate;
    joined = alike ? Joined(*joined, da.grad) : std::nullopt;
  }
  return joined;
}

// dA_i = g_iᵀ dropout_i(x), for the group in one product if it can be.
void LoraLinear::BackwardOfGroup(const Context& context, const Group& group, const View& g,
                                 const View& x, const Targets& targets) const {
  if (const auto joined = JoinedTarget(group, targets); joined.has_value()) {
    Gemm(context.stream, Transposed(g), x, *joined,
         {.beta = BetaOf(targets.weights[2 + 2 * group.begin])});
    return;
  }
  for (size_t i = group.begin; i < group.end; ++i) {
    const LeafTarget& da = targets.weights[2 + 2 * i];
    if (!da.grad.defined()) continue;
    const Adapter& adapter = adapters_[i];
    Gemm(context.stream, Transposed(Columns(g, adapter.column - group.column, adapter.rank())), x,
         da.grad, {.beta = BetaOf(da)});
  }
}

// dx = Σ_i dropout_i(g_i A_i) + dy W. The wide product comes last: that it adds to what is there
// costs less than another pass over dx.
void LoraLinear::BackwardOfX(const Context& context, const View& g, const Tensor& drops,
                             const View& dy, const Tensor& dx) const {
  const View to = dx.Mutable("linear_lora");
  const bool begun = SharesOfX(context, g, drops, to);
  w_.Inputs(context, dy, to, begun ? 1.0 : 0.0);
}

// Whether there are any.
bool LoraLinear::SharesOfX(const Context& context, const View& g, const Tensor& drops,
                           const View& to) const {
  if (TakesMasks(to.dtype)) {
    kernels::DroppedShares(context.stream, DroppedParts(g, drops), /*accumulate=*/false, to);
    return !adapters_.empty();
  }
  bool begun = false;
  for (const Group& group : Groups()) {
    Tensor other;  // what is dropped from before it joins the others
    if (begun && p_ > 0) {
      other = Tensor::Empty(*context.allocator, to.dtype, {to.shape[0], to.shape[1]});
    }
    const View share = other.defined() ? other.Mutable("linear_lora") : to;
    Gemm(context.stream, Columns(g, group.column, group.a.shape[0]), group.a, share,
         {.beta = begun && p_ == 0 ? 1.0 : 0.0});
    if (p_ > 0) {
      kernels::Dropout(context.stream, share, drops, to,
                       {.p = p_, .key = adapters_[group.begin].dropout_key, .accumulate = begun});
    }
    begun = true;
  }
  return begun;
}

}  // namespace lockstep::autograd
