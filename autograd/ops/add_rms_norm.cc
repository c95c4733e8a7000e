#include "autograd/ops/add_rms_norm.h"

#include <utility>

#include "base/check.h"
#include "tensor/kernels/add_rms_norm.h"

namespace lockstep::autograd {
namespace {

View ViewOf(const Variable& variable) {
  return variable.defined() ? variable.value().view() : View{};
}

}  // namespace

ResidualHead::ResidualHead(Tape& tape, const ResidualInput& in, absl::Span<const Variable> more)
    : gradient_{in.options, in.branch.defined(), in.post_weight.defined()},
      inputs_{in.residual, in.branch, in.post_weight, in.weight},
      saved_(kNumSaved) {
  inputs_.insert(inputs_.end(), more.begin(), more.end());
  const Context& context = tape.context();
  const Tensor& residual = in.residual.value();
  CHECK_EQ(residual.rank(), 2) << "[add_rms_norm] residual: want [T, C], got "
                               << Describe(residual);
  const int64_t tokens = residual.dim(0), width = residual.dim(1);
  const auto empty = [&] {
    return Tensor::Empty(*context.allocator, residual.dtype(), {tokens, width});
  };
  normed_ = empty();
  if (in.rstd.defined()) {
    CHECK(!in.branch.defined()) << "[add_rms_norm] rstd: want it without a branch";
    saved_[kSum] = residual;
    saved_[kRstd] = in.rstd;
    kernels::RmsNormAgain(context.stream, residual, in.weight.value(), in.rstd, in.options,
                          normed_);
    return;
  }
  saved_[kRstd] = NewRstd(*context.allocator, residual.dtype(), {tokens});
  if (gradient_.post) {
    saved_[kPostRstd] = NewRstd(*context.allocator, residual.dtype(), {tokens});
    saved_[kSavedBranch] = in.branch.value();
  }
  if (!in.branch.defined()) {
    saved_[kSum] = residual;
    kernels::RmsNorm(context.stream, residual, in.weight.value(), in.options, normed_,
                     saved_[kRstd]);
    return;
  }
  saved_[kSum] = empty();
  kernels::AddRmsNorm(context.stream, residual, in.branch.value(), ViewOf(in.post_weight),
                      in.weight.value(), in.options, saved_[kSum], normed_, saved_[kRstd],
                      saved_[kPostRstd]);
}

Tensor ResidualHead::Gradient::Normed(const Gradients& g) const {
  const Tensor& sum = g.saved(kSum);
  const Tensor normed = g.New(sum.dtype(), {sum.dim(0), sum.dim(1)});
  kernels::RmsNormAgain(g.context().stream, sum, g.input(kWeight), g.saved(kRstd), options, normed);
  return normed;
}

kernels::NormedMatrix ResidualHead::Gradient::Norm(const Gradients& g) const {
  return {g.saved(kSum), g.input(kWeight), g.saved(kRstd), options};
}

bool ResidualHead::Gradient::Wanted(const Gradients& g) const {
  return g.Needs(kResidual) || g.Needs(kBranch) || g.Needs(kPostWeight) || g.Needs(kWeight);
}

void ResidualHead::Gradient::Backward(Gradients& g, Tensor dnormed) const {
  if (!Wanted(g)) return;
  const Tensor stream = g.TakeOutput(0);
  const bool in_place = stream.defined() && stream.unique();
  Tensor dsum = in_place || !dnormed.defined() ? stream
                : dnormed.unique()             ? dnormed
                                               : g.NewLike(kResidual);
  if (dnormed.defined()) {
    BackwardOfRmsNorm(g, kWeight, dnormed, g.saved(kSum), g.saved(kRstd), options, stream, dsum);
  }
  if (!has_branch) {
    g.Add(kResidual, std::move(dsum));
    return;
  }
  Tensor dbranch = dsum;
  if (post) {
    dbranch = g.NewLike(kBranch);
    BackwardOfRmsNorm(g, kPostWeight, dsum, g.saved(kSavedBranch), g.saved(kPostRstd), options,
                      View{}, dbranch);
  }
  g.Add(kResidual, std::move(dsum));
  g.Add(kBranch, std::move(dbranch));
}

AddRmsNormResult AddRmsNorm(Tape& tape, const ResidualInput& in) {
  const ResidualHead head(tape, in, {});
  const std::vector<Variable> outputs = tape.Record(
      "add_rms_norm", head.inputs(), {head.sum(), head.normed()}, head.saved(),
      [gradient = head.gradient()](Gradients& g) { gradient.Backward(g, g.TakeOutput(1)); });
  return {outputs[0], outputs[1]};
}

ResidualSumResult ResidualSum(Tape& tape, const ResidualInput& in) {
  CHECK(in.branch.defined() && !in.post_weight.defined())
      << "[residual_sum] want a branch without a post-norm";
  const ResidualHead head(tape, in, {});
  const Variable sum =
      tape.Record("residual_sum", {in.residual, in.branch}, head.sum(), {}, [](Gradients& g) {
        Tensor grad = g.TakeOutput(0);
        g.Add(0, grad);
        g.Add(1, std::move(grad));
      });
  return {sum, head.saved()[ResidualHead::kRstd]};
}

}  // namespace lockstep::autograd
