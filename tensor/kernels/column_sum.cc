#include "tensor/kernels/column_sum.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {

void ColumnSum(const Stream& stream, const View& x, bool accumulate, const View& y) {
  CHECK_EQ(x.rank, 2) << "[column_sum] x: want [T, N], got " << Describe(x);
  CHECK_SHAPE("column_sum", "y", y, x.shape[1]);
  CheckSumType("column_sum", "y", y, x.dtype);
  CHECK(x.stride[1] == 1 && y.contiguous())
      << "[column_sum] want contiguous rows, got " << Describe(x) << " and " << Describe(y);
  LOCKSTEP_DISPATCH(stream, ColumnSum, x, accumulate, y);
}

}  // namespace lockstep::kernels
