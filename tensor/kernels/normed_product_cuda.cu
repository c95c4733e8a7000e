#include "tensor/kernels/device/narrow_launch.cuh"
#include "tensor/kernels/device/partial_sums.cuh"
#include "tensor/kernels/normed_product.h"

namespace lockstep::kernels::cuda {

void NormedProduct(const Stream& stream, const View& g, const NormedMatrix& y, const View& c,
                   bool accumulate, const View& scratch) {
  using namespace device;  // NOLINT(build/namespaces)
  const int64_t rows = y.x.shape[0], width = y.x.shape[1], rank = g.shape[1];
  if (c.numel() == 0) return;
  if (!NormedProductTakes(y.x.dtype, width, rank) || !narrow::RowsAligned(g) ||
      !narrow::RowsAligned(y.x) || !narrow::Fits(c, DType::kF32)) {
    Unsupported("normed_product of this rank or alignment", y.x);
  }
  const NarrowCut cut(rows, NarrowCut::Strips(width, rank), rank);
  narrow::Arguments arguments = {};
  arguments.part[0].h = g.as<bf16>();
  arguments.part[0].h_row = g.stride[0];
  arguments.part[0].columns = width;
  arguments.part[0].rank = static_cast<int>(rank);
  arguments.part[0].row_sums = scratch.as<float>();
  arguments.parts = 1;
  arguments.d = y.x.as<bf16>();
  arguments.d_row = y.x.stride[0];
  arguments.rows = rows;
  arguments.panel_rows = cut.panel_rows;
  arguments.panel_step = cut.rank * width;
  arguments.column_step = 1;
  arguments.rank_step = width;
  arguments.rstd = y.rstd.as<float>();
  arguments.w = y.w.as<bf16>();
  arguments.one_plus = y.options.form == NormForm::kGemma;
  const auto launch = [&](auto steps) {
    narrow::Launch<narrow::Shape<steps(), narrow::Kind::kNormed>>(stream, cut, arguments);
  };
  switch (cut.rank / 16) {
    case 1:
      launch(std::integral_constant<int, 1>());
      break;
    case 2:
      launch(std::integral_constant<int, 2>());
      break;
    case 3:
      launch(std::integral_constant<int, 3>());
      break;
    default:
      launch(std::integral_constant<int, 4>());
  }
  PartialSumList sums;
  sums.sum[sums.size++] = {scratch.as<float>(),
                           cut.panels,
                           arguments.panel_step,
                           width,
                           c.data,
                           c.stride[0],
                           rank,
                           width,
                           1,
                           /*to_bf16=*/false,
                           accumulate};
  AddPartialSums(stream, sums);
}

}  // namespace lockstep::kernels::cuda
