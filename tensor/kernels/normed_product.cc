#include "tensor/kernels/normed_product.h"

#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/narrow_cut.h"

namespace lockstep::kernels {

int64_t NormedProductScratch(int64_t rows, int64_t width, int64_t rank) {
  const NarrowCut cut(rows, NarrowCut::Strips(width, rank), rank);
  return cut.panels * cut.rank * width;
}

void NormedProduct(const Stream& stream, const View& g, const NormedMatrix& y, const View& c,
                   bool accumulate, const View& scratch) {
  constexpr char kOp[] = "normed_product";
  CHECK(g.rank == 2 && y.x.rank == 2 && y.x.contiguous())
      << "[normed_product] want matrices, got " << Describe(g) << " and " << Describe(y.x);
  const int64_t rows = y.x.shape[0], width = y.x.shape[1], rank = g.shape[1];
  CHECK_SHAPE(kOp, "g", g, rows, rank);
  CHECK_SHAPE(kOp, "w", y.w, width);
  CHECK_SHAPE(kOp, "rstd", y.rstd, rows);
  CHECK_SHAPE(kOp, "c", c, rank, width);
  CHECK_DTYPE(kOp, "g", g, y.x.dtype);
  CHECK_DTYPE(kOp, "w", y.w, y.x.dtype);
  CHECK_DTYPE(kOp, "scratch", scratch, DType::kF32);
  CHECK(scratch.contiguous() && scratch.numel() >= NormedProductScratch(rows, width, rank))
      << "[normed_product] scratch: " << Describe(scratch);
  LOCKSTEP_DISPATCH(stream, NormedProduct, g, y, c, accumulate, scratch);
}

}  // namespace lockstep::kernels
