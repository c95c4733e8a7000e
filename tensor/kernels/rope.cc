#include "tensor/kernels/rope.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {

void RopeTable(const Stream& stream, const View& positions, const View& inv_freq, const View& row,
               double attention_factor, const View& table) {
  constexpr char kOp[] = "rope_table";
  CHECK_EQ(positions.rank, 1) << "[rope_table] positions: want [T], got " << Describe(positions);
  CHECK_DTYPE(kOp, "positions", positions, DType::kI32);
  CHECK(inv_freq.rank == 2 && inv_freq.contiguous() && inv_freq.shape[0] > 0)
      << "[rope_table] inv_freq: want [R, P], got " << Describe(inv_freq);
  CHECK_SHAPE(kOp, "table", table, positions.shape[0], inv_freq.shape[1], 2);
  CHECK_DTYPE(kOp, "table", table, inv_freq.dtype);
  CHECK(positions.contiguous() && table.contiguous());
  if (row.data != nullptr) {
    CHECK_SHAPE(kOp, "row", row, positions.shape[0]);
    CHECK_DTYPE(kOp, "row", row, DType::kI32);
    CHECK(row.contiguous());
  }
  LOCKSTEP_DISPATCH(stream, RopeTable, positions, inv_freq, row, attention_factor, table);
}

void Rope(const Stream& stream, const View& x, const View& table, int direction) {
  CHECK(x.rank == 3 && (x.stride[2] == 1 || x.shape[2] == 1))
      << "[rope] x: want [T, N, D] with contiguous heads, got " << Describe(x);
  CHECK(table.rank == 3 && table.shape[0] == x.shape[0] && 2 * table.shape[1] <= x.shape[2] &&
        table.shape[2] == 2 && table.contiguous())
      << "[rope] table: want [T, P, 2] with 2P ≤ D for x " << Describe(x) << ", got "
      << Describe(table);
  CHECK(table.dtype == DType::kF32 || table.dtype == x.dtype)
      << "[rope] table " << Describe(table) << " for " << Describe(x);
  CHECK(direction == 1 || direction == -1);
  LOCKSTEP_DISPATCH(stream, Rope, x, table, direction);
}

}  // namespace lockstep::kernels
