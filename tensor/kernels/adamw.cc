#include "tensor/kernels/adamw.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {
namespace {

constexpr char kOp[] = "adamw";

void CheckFlat(const char* name, const View& view, int64_t n) {
  CheckShape(kOp, name, view, {n});
  CHECK(view.contiguous()) << "[adamw] " << name << ": want it contiguous";
}

void CheckRanges(const AdamWRanges& ranges, int64_t n) {
  int64_t end = 0;
  for (int64_t i = 0; i < ranges.size; ++i) {
    const AdamWRange& range = ranges.data[i];
    CHECK(end <= range.begin && range.begin <= range.end && range.end <= n)
        << "[adamw] range " << i << " [" << range.begin << ", " << range.end
        << "): want them ascending within [0, " << n << ")";
    end = range.end;
  }
}

}  // namespace

void AdamW(const Stream& stream, const View& gradient, const View& coefficient,
           const View& overflow, const AdamWOptions& options, const AdamWRanges& ranges,
           const View& param, const View& m, const View& v, const View& image) {
  CHECK_EQ(param.rank, 1) << "[adamw] param: want [n], got " << Describe(param);
  const int64_t n = param.shape[0];
  CheckFlat("param", param, n);
  CheckFlat("gradient", gradient, n);
  CHECK(gradient.dtype == DType::kI64 || gradient.dtype == DType::kF32 ||
        gradient.dtype == DType::kF64)
      << "[adamw] gradient: want i64, f32 or f64, got " << Describe(gradient);
  CheckFlat("m", m, n);
  CHECK_DTYPE(kOp, "m", m, param.dtype);
  CheckFlat("v", v, n);
  CHECK_DTYPE(kOp, "v", v, param.dtype);
  CheckFlat("coefficient", coefficient, 1);
  CHECK_DTYPE(kOp, "coefficient", coefficient, DType::kF64);
  CheckFlat("overflow", overflow, 1);
  CHECK_DTYPE(kOp, "overflow", overflow, DType::kI64);
  if (image.data != nullptr) {
    CheckFlat("image", image, n);
    CHECK_DTYPE(kOp, "image", image, DType::kBF16);
  }
  CHECK_GE(options.step, 1) << "[adamw] steps count from 1";
  CheckRanges(ranges, n);
  LOCKSTEP_DISPATCH(stream, AdamW, gradient, coefficient, overflow, options, ranges, param, m, v,
                    image);
}

}  // namespace lockstep::kernels
