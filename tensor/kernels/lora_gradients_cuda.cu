#include "tensor/kernels/device/narrow_launch.cuh"
#include "tensor/kernels/device/partial_sums.cuh"
#include "tensor/kernels/lora_gradients_parts.h"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

bool TakesPart(const LoraPart& part) {
  const LoraShare& share = part.share;
  const LoraShareGradient& to = part.gradient;
  if (share.h.rank == 0 || share.b.rank == 0 || to.dh.rank == 0 || to.db.rank == 0) return false;
  return RankOf(part) % 8 == 0 && RankOf(part) <= 32 && part.first % 8 == 0 &&
         part.width() % 8 == 0 && HasBf16Rows(share.h) && HasBf16Rows(share.b) &&
         TakesPartialSums(to.dh, DType::kBF16) && TakesPartialSums(to.db, DType::kF32);
}

bool Takes(const View& d, const std::vector<LoraPart>& parts) {
  bool takes = parts.size() <= narrow::Arguments::kMost && HasBf16Rows(d);
  for (const LoraPart& part : parts) takes = takes && TakesPart(part);
  return takes;
}

}  // namespace

void LoraGradients(const Stream& stream, const View& d, const std::vector<LoraPart>& parts,
                   const View& scratch) {
  if (!Takes(d, parts) || d.shape[0] == 0) return MultiplyParts(stream, d, parts);
  if (parts.empty()) return;
  const int64_t rows = d.shape[0];
  const NarrowCut cut = CutLoraGradients(rows, parts);
  narrow::Arguments arguments = {};
  arguments.d = d.as<bf16>();
  arguments.d_row = d.stride[0];
  arguments.rows = rows;
  arguments.panel_rows = cut.panel_rows;
  arguments.column_step = cut.rank;
  arguments.rank_step = 1;
  for (const LoraPart& part : parts) arguments.panel_step += part.width() * cut.rank;

  PartialSumList sums;
  int64_t strip = 0;
  float* column_sums = scratch.as<float>();
  float* row_sums = column_sums + cut.strips * rows * cut.rank;
  for (const LoraPart& part : parts) {
    const LoraShare& share = part.share;
    const LoraShareGradient& to = part.gradient;
    const int64_t strips = NarrowCut::Strips(part.width(), cut.rank);
    arguments.part[arguments.parts++] = {share.h.as<bf16>(),
                                         share.b.as<bf16>(),
                                         share.h.stride[0],
                                         share.b.stride[0],
                                         part.first,
                                         part.width(),
                                         strip,
                                         static_cast<int>(RankOf(part)),
                                         column_sums,
                                         row_sums};
    sums.Add({column_sums, strips, rows * cut.rank, cut.rank}, to.dh, share.scale);
    sums.Add({row_sums, cut.panels, arguments.panel_step, cut.rank}, to.db, share.scale,
             to.accumulate);
    strip += strips;
    column_sums += strips * rows * cut.rank;
    row_sums += part.width() * cut.rank;
  }
  if (cut.rank <= 16) {
    narrow::Launch<narrow::Shape<1, narrow::Kind::kBoth>>(stream, cut, arguments);
  } else {
    narrow::Launch<narrow::Shape<2, narrow::Kind::kBoth>>(stream, cut, arguments);
  }
  AddPartialSums(stream, sums);
}

}  // namespace lockstep::kernels::cuda
