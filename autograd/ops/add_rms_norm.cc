#include "autograd/ops/add_rms_norm.h"

#include <utility>

#include "base/check.h"
#include "tensor/kernels/add_rms_norm.h"

namespace lockstep::autograd {
namespace {

enum Input { kResidual, kBranch, kPostWeight, kWeight };
enum Output { kSum, kNormed };
enum Saved { kSavedSum, kRstd, kSavedBranch, kPostRstd };

// The gradient of sum: what the stream brings, and what comes through the norm of the sum.
Tensor GradientOfSum(Gradients& g, const RmsNormOptions& options) {
  const Tensor stream = g.TakeOutput(kSum), dy = g.TakeOutput(kNormed);
  if (!dy.defined()) return stream;
  const Tensor dsum = stream.defined() && stream.unique() ? stream
                      : dy.unique()                       ? dy
                                                          : g.NewLike(kResidual);
  BackwardOfRmsNorm(g, kWeight, dy, g.saved(kSavedSum), g.saved(kRstd), options, stream, dsum);
  return dsum;
}

}  // namespace

AddRmsNormResult AddRmsNorm(Tape& tape, const Variable& residual, const Variable& branch,
                            const Variable& post_weight, const Variable& weight,
                            const RmsNormOptions& options) {
  const Context& context = tape.context();
  const Tensor& in = residual.value();
  CHECK_EQ(in.rank(), 2) << "[add_rms_norm] residual: want [T, C], got " << Describe(in);
  const bool post = post_weight.defined();
  const auto like = [&] {
    return Tensor::Empty(*context.allocator, in.dtype(), {in.dim(0), in.dim(1)});
  };
  const Tensor sum = like(), normed = like();
  Tensor rstd, post_rstd;
  if (tape.WouldRecord({residual, branch, post_weight, weight})) {
    rstd = NewRstd(*context.allocator, in.dtype(), {in.dim(0)});
    if (post) post_rstd = NewRstd(*context.allocator, in.dtype(), {in.dim(0)});
  }
  kernels::AddRmsNorm(context.stream, in, branch.value(),
                      post ? post_weight.value().view() : View{}, weight.value(), options, sum,
                      normed, rstd, post_rstd);
  std::vector<Tensor> saved = {sum, rstd};
  if (post) saved.insert(saved.end(), {branch.value(), post_rstd});
  const std::vector<Variable> outputs =
      tape.Record("add_rms_norm", {residual, branch, post_weight, weight}, {sum, normed}, saved,
                  [options, post](Gradients& g) {
                    const Tensor dsum = GradientOfSum(g, options);
                    Tensor dbranch = dsum;
                    if (post) {
                      dbranch = g.NewLike(kBranch);
                      BackwardOfRmsNorm(g, kPostWeight, dsum, g.saved(kSavedBranch),
                                        g.saved(kPostRstd), options, View{}, dbranch);
                    }
                    g.Add(kResidual, dsum);
                    g.Add(kBranch, std::move(dbranch));
                  });
  return {outputs[kSum], outputs[kNormed]};
}

}  // namespace lockstep::autograd
