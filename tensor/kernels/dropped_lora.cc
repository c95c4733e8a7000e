#include "tensor/kernels/dropped_lora.h"

#include <algorithm>

#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/narrow_cut.h"

namespace lockstep::kernels {
namespace {

constexpr char kOp[] = "dropped_lora";

void CheckParts(const View& x, const std::vector<DroppedPart>& parts) {
  CHECK(x.rank == 2 && x.stride[1] == 1) << "[dropped_lora] want rows, got " << Describe(x);
  for (const DroppedPart& part : parts) {
    CHECK_SHAPE(kOp, "h", part.h, x.shape[0], part.h.shape[1]);
    CHECK_DTYPE(kOp, "h", part.h, x.dtype);
    CHECK_SHAPE(kOp, "bits", part.mask.bits, x.shape[0], DropoutMaskBytes(x.shape[1]));
    CHECK_DTYPE(kOp, "bits", part.mask.bits, DType::kU8);
    CHECK(part.mask.bits.contiguous() && part.mask.p == parts[0].mask.p)
        << "[dropped_lora] bits: " << Describe(part.mask.bits);
  }
}

void CheckA(const View& x, const std::vector<DroppedPart>& parts) {
  for (const DroppedPart& part : parts) {
    CHECK_SHAPE(kOp, "a", part.a, part.h.shape[1], x.shape[1]);
    CHECK_DTYPE(kOp, "a", part.a, x.dtype);
  }
}

}  // namespace

int64_t DroppedGradientsScratch(int64_t rows, int64_t width) {
  int64_t most = 0;
  for (int64_t rank = 16; rank <= 64; rank += 16) {
    const NarrowCut cut(rows, NarrowCut::Strips(width, rank), rank);
    most = std::max(most, cut.panels * cut.rank * width);
  }
  return most;
}

void DroppedInputs(const Stream& stream, const View& x, const std::vector<DroppedPart>& parts) {
  CheckParts(x, parts);
  CheckA(x, parts);
  if (x.numel() == 0 || parts.empty()) return;
  LOCKSTEP_DISPATCH(stream, DroppedInputs, x, parts);
}

void DroppedGradients(const Stream& stream, const NormedMatrix& x,
                      const std::vector<DroppedPart>& parts, const View& scratch) {
  CheckParts(x.x, parts);
  for (const DroppedPart& part : parts) {
    if (part.da.rank != 0) CHECK_SHAPE(kOp, "da", part.da, part.h.shape[1], x.x.shape[1]);
  }
  if (x.rstd.rank != 0) {
    CHECK(x.x.contiguous()) << "[dropped_lora] x: " << Describe(x.x);
    CHECK_SHAPE(kOp, "w", x.w, x.x.shape[1]);
    CHECK_SHAPE(kOp, "rstd", x.rstd, x.x.shape[0]);
  }
  CHECK_DTYPE(kOp, "scratch", scratch, DType::kF32);
  CHECK(scratch.contiguous() &&
        scratch.numel() >= DroppedGradientsScratch(x.x.shape[0], x.x.shape[1]))
      << "[dropped_lora] scratch: " << Describe(scratch);
  if (parts.empty()) return;
  LOCKSTEP_DISPATCH(stream, DroppedGradients, x, parts, scratch);
}

void DroppedShares(const Stream& stream, const std::vector<DroppedPart>& parts, bool accumulate,
                   const View& dx) {
  CheckParts(dx, parts);
  CheckA(dx, parts);
  if (dx.numel() == 0 || parts.empty()) return;
  LOCKSTEP_DISPATCH(stream, DroppedShares, parts, accumulate, dx);
}

}  // namespace lockstep::kernels
