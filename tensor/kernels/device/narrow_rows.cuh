// narrow_panel.cuh's kernel for sums over rows alone: hᵀ d, where d is a matrix or the RMSNorm of
// one. Partial sums are [panels, ranks, columns].
#pragma once

#include "tensor/kernels/device/narrow_launch.cuh"
#include "tensor/kernels/device/partial_sums.cuh"
#include "tensor/kernels/normed_product.h"

namespace lockstep::kernels::device::narrow {

// All but h. `d` without rstd (rank 0) is meant itself.
inline Arguments RowSumsOf(const NormedMatrix& d, const NarrowCut& cut, float* partials) {
  const int64_t width = d.x.shape[1];
  Arguments arguments = {};
  arguments.part[0].columns = width;
  arguments.part[0].row_sums = partials;
  arguments.parts = 1;
  arguments.d = d.x.as<bf16>();
  arguments.d_row = d.x.stride[0];
  arguments.rows = d.x.shape[0];
  arguments.panel_rows = cut.panel_rows;
  arguments.panel_step = cut.rank * width;
  arguments.column_step = 1;
  arguments.rank_step = width;
  arguments.rstd = d.rstd.rank == 0 ? nullptr : d.rstd.as<float>();
  arguments.w = d.w.as<bf16>();
  arguments.one_plus = d.options.form == NormForm::kGemma;
  return arguments;
}

// Those of the ranks from `first_rank` on.
inline Partials PanelsOf(const Arguments& arguments, const NarrowCut& cut, int64_t first_rank) {
  return {arguments.part[0].row_sums + first_rank * arguments.rank_step, cut.panels,
          arguments.panel_step, arguments.rank_step};
}

}  // namespace lockstep::kernels::device::narrow
