#include "tensor/kernels/rms_norm.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {
namespace {

constexpr char kOp[] = "rms_norm";

// [T, C] as [T, 1, C].
View WithHeads(View x) {
  if (x.rank != 2) return x;
  x.rank = 3;
  x.shape[2] = x.shape[1], x.stride[2] = x.stride[1];
  x.shape[1] = 1, x.stride[1] = 0;
  return x;
}

void CheckLike(const char* name, const View& view, const View& x) {
  CheckShape(kOp, name, view, {x.shape[0], x.shape[1], x.shape[2]});
  CHECK_DTYPE(kOp, name, view, x.dtype);
  CHECK(view.stride[2] == 1 || view.shape[2] == 1)
      << "[rms_norm] " << name << ": want contiguous rows, got " << Describe(view);
}

void CheckCommon(const View& x, const View& w, const View& rstd) {
  CHECK_EQ(x.rank, 3) << "[rms_norm] x: want [T, C] or [T, N, C], got " << Describe(x);
  CheckLike("x", x, x);
  CHECK_SHAPE(kOp, "weight", w, x.shape[2]);
  CHECK_DTYPE(kOp, "weight", w, x.dtype);
  CHECK(w.contiguous());
  if (rstd.data == nullptr) return;
  CHECK_EQ(rstd.numel(), x.shape[0] * x.shape[1]) << "[rms_norm] rstd: " << Describe(rstd);
  CHECK_DTYPE(kOp, "rstd", rstd, AccumulateType(x.dtype));
  CHECK(rstd.contiguous());
}

}  // namespace

void RmsNorm(const Stream& stream, const View& x, const View& w, const RmsNormOptions& options,
             const View& y, const View& rstd) {
  const View x3 = WithHeads(x), y3 = WithHeads(y);
  CheckCommon(x3, w, rstd);
  CheckLike("y", y3, x3);
  LOCKSTEP_DISPATCH(stream, RmsNorm, x3, w, options, y3, rstd);
}

void RmsNormAgain(const Stream& stream, const View& x, const View& w, const View& rstd,
                  const RmsNormOptions& options, const View& y) {
  CheckCommon(WithHeads(x), w, rstd);
  CHECK_SHAPE(kOp, "y", y, x.shape[0], x.shape[1]);
  CHECK_DTYPE(kOp, "y", y, x.dtype);
  CHECK(x.contiguous() && y.contiguous() && rstd.data != nullptr);
  LOCKSTEP_DISPATCH(stream, RmsNormAgain, x, w, rstd, options, y);
}

void RmsNormBackward(const Stream& stream, const View& dy, const View& x, const View& w,
                     const View& rstd, const RmsNormOptions& options, const View& addend,
                     const View& dx, const View& dw, bool accumulate, const View& partials) {
  const View x3 = WithHeads(x), dy3 = WithHeads(dy), dx3 = WithHeads(dx),
             addend3 = WithHeads(addend);
  CheckCommon(x3, w, rstd);
  CHECK(rstd.data != nullptr || x.numel() == 0) << "[rms_norm] backward needs rstd";
  CheckLike("dy", dy3, x3);
  CheckLike("dx", dx3, x3);
  if (addend.data != nullptr) CheckLike("addend", addend3, x3);
  if (dw.data != nullptr) {
    CHECK_SHAPE(kOp, "dw", dw, x3.shape[2]);
    CHECK_DTYPE(kOp, "dw", dw, AccumulateType(x.dtype));
    CHECK_SHAPE(kOp, "partials", partials, RmsNormPartials(x3.shape[0] * x3.shape[1], x3.shape[2]),
                x3.shape[2]);
    CHECK_DTYPE(kOp, "partials", partials, dw.dtype);
    CHECK(dw.contiguous() && partials.contiguous());
  }
  LOCKSTEP_DISPATCH(stream, RmsNormBackward, dy3, x3, w, rstd, options, addend3, dx3, dw,
                    accumulate, partials);
}

}  // namespace lockstep::kernels
