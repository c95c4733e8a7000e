#include "tensor/kernels/add_rms_norm.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {

void AddRmsNorm(const Stream& stream, const View& residual, const View& branch, const View& post_w,
                const View& w, const RmsNormOptions& options, const View& sum, const View& y,
                const View& rstd, const View& post_rstd) {
  constexpr char kOp[] = "add_rms_norm";
  const DType dtype = residual.dtype;
  CHECK_EQ(residual.rank, 2) << "[add_rms_norm] residual: want [T, C], got " << Describe(residual);
  const int64_t tokens = residual.shape[0], width = residual.shape[1];
  const std::pair<const char*, const View*> all[] = {
      {"residual", &residual}, {"branch", &branch}, {"sum", &sum}, {"y", &y}};
  for (const auto& [name, view] : all) {
    CHECK_SHAPE(kOp, name, *view, tokens, width);
    CHECK_DTYPE(kOp, name, *view, dtype);
    CHECK(view->contiguous()) << "[add_rms_norm] " << name << ": want it contiguous";
  }
  const std::pair<const char*, const View*> weights[] = {{"weight", &w}, {"post weight", &post_w}};
  for (const auto& [name, view] : weights) {
    if (view == &post_w && post_w.data == nullptr) continue;
    CHECK_SHAPE(kOp, name, *view, width);
    CHECK_DTYPE(kOp, name, *view, dtype);
    CHECK(view->contiguous());
  }
  for (const View* view : {&rstd, &post_rstd}) {
    if (view->data == nullptr) continue;
    CHECK_SHAPE(kOp, "rstd", *view, tokens);
    CHECK_DTYPE(kOp, "rstd", *view, AccumulateType(dtype));
  }
  LOCKSTEP_DISPATCH(stream, AddRmsNorm, residual, branch, post_w, w, options, sum, y, rstd,
                    post_rstd);
}

}  // namespace lockstep::kernels
