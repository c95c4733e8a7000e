#include "tensor/kernels/lora_gradients.h"

#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/lora_gradients_parts.h"

namespace lockstep::kernels {
namespace {

constexpr char kOp[] = "lora_gradients";

void CheckPart(const View& d, const LoraPart& part) {
  const LoraShareGradient& to = part.gradient;
  if (to.dh.rank == 0 && to.db.rank == 0) return;
  CHECK(part.first >= 0 && part.first + part.width() <= d.shape[1])
      << "[lora_gradients] d: " << Describe(d) << " has no columns " << part.first << " to "
      << part.first + part.width();
  const int64_t rank = RankOf(part);
  if (to.dh.rank != 0) {
    CHECK_SHAPE(kOp, "b", part.share.b, part.width(), rank);
    CHECK_SHAPE(kOp, "dh", to.dh, d.shape[0], rank);
    CHECK_DTYPE(kOp, "dh", to.dh, d.dtype);
  }
  if (to.db.rank != 0) {
    CHECK_SHAPE(kOp, "h", part.share.h, d.shape[0], rank);
    CHECK_SHAPE(kOp, "db", to.db, part.width(), rank);
  }
}

}  // namespace

int64_t LoraGradientsScratch(int64_t rows, const std::vector<LoraPart>& parts) {
  const NarrowCut cut = CutLoraGradients(rows, parts);
  int64_t width = 0;
  for (const LoraPart& part : parts) width += part.width();
  return (cut.strips * rows + cut.panels * width) * cut.rank;
}

void LoraGradients(const Stream& stream, const View& d, const std::vector<LoraPart>& parts,
                   const View& scratch) {
  CHECK(d.rank == 2) << "[lora_gradients] d: want a matrix, got " << Describe(d);
  for (const LoraPart& part : parts) CheckPart(d, part);
  CHECK_DTYPE(kOp, "scratch", scratch, DType::kF32);
  CHECK(scratch.contiguous() && scratch.numel() >= LoraGradientsScratch(d.shape[0], parts))
      << "[lora_gradients] scratch: " << Describe(scratch);
  LOCKSTEP_DISPATCH(stream, LoraGradients, d, parts, scratch);
}

}  // namespace lockstep::kernels
