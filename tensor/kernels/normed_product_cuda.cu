#include "tensor/kernels/device/narrow_rows.cuh"
#include "tensor/kernels/normed_product.h"

namespace lockstep::kernels::cuda {

void NormedProduct(const Stream& stream, const View& g, const NormedMatrix& y, const View& c,
                   bool accumulate, const View& scratch) {
  using namespace device;  // NOLINT(build/namespaces)
  const int64_t rows = y.x.shape[0], width = y.x.shape[1], rank = g.shape[1];
  if (c.numel() == 0) return;
  if (!NormedProductTakes(y.x.dtype, width, rank) || !HasBf16Rows(g) || !HasBf16Rows(y.x) ||
      !TakesPartialSums(c, DType::kF32)) {
    Unsupported("normed_product of this rank or alignment", y.x);
  }
  const NarrowCut cut(rows, NarrowCut::Strips(width, rank), rank);
  narrow::Arguments arguments = narrow::RowSumsOf(y, cut, scratch.as<float>());
  arguments.part[0].h = g.as<bf16>();
  arguments.part[0].h_row = g.stride[0];
  arguments.part[0].rank = static_cast<int>(rank);
  DispatchExactSteps(cut.rank / 16, [&](auto steps) {
    narrow::Launch<narrow::Shape<steps(), narrow::Kind::kNormed>>(stream, cut, arguments);
  });
  PartialSumList sums;
  sums.Add(narrow::PanelsOf(arguments, cut, 0), c, 1, accumulate);
  AddPartialSums(stream, sums);
}

}  // namespace lockstep::kernels::cuda
