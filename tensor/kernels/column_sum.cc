#include "tensor/kernels/column_sum.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {

void ColumnSum(const Stream& stream, const View& x, bool accumulate, const View& y) {
  CHECK_EQ(x.rank, 2) << "[column_sum] x: want [T, N], got " << Describe(x);
  CHECK_SHAPE("column_sum", "y", y, x.shape[1]);
  const bool narrow = x.dtype == DType::kBF16 || x.dtype == DType::kF16;
  CHECK(y.dtype == x.dtype || (narrow && y.dtype == DType::kF32))
      << "[column_sum] y: want " << NameOf(x.dtype) << ", got " << Describe(y);
  CHECK(x.stride[1] == 1 && y.contiguous())
      << "[column_sum] want contiguous rows, got " << Describe(x) << " and " << Describe(y);
  LOCKSTEP_DISPATCH(stream, ColumnSum, x, accumulate, y);
}

}  // namespace lockstep::kernels
