#include "tensor/kernels/rope_lora.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {

void RopeLora(const Stream& stream, const View& x, const std::vector<HeadsShare>& parts,
              int64_t rotated, const View& table) {
  constexpr char kOp[] = "rope_lora";
  CHECK(x.rank == 3 && x.contiguous())
      << "[rope_lora] x: want contiguous [T, N, D], got " << Describe(x);
  CHECK(table.rank == 3 && table.contiguous() && 2 * table.shape[1] <= x.shape[2])
      << "[rope_lora] table: want [T, P, 2], got " << Describe(table);
  CHECK_SHAPE(kOp, "table", table, x.shape[0], table.shape[1], 2);
  CHECK(table.dtype == DType::kF32 || table.dtype == x.dtype)
      << "[rope_lora] table " << Describe(table) << " for " << Describe(x);
  int64_t heads = 0;
  for (const HeadsShare& part : parts) {
    heads += part.heads;
    if (part.share.empty()) continue;
    CHECK_SHAPE(kOp, "h", part.share.h, x.shape[0], part.share.h.shape[1]);
    CHECK_SHAPE(kOp, "b", part.share.b, part.heads * x.shape[2], part.share.h.shape[1]);
    CHECK_DTYPE(kOp, "h", part.share.h, x.dtype);
    CHECK_DTYPE(kOp, "b", part.share.b, x.dtype);
  }
  CHECK(heads == x.shape[1] && 0 <= rotated && rotated <= heads)
      << "[rope_lora] x: " << Describe(x) << " for parts of " << heads << " heads, " << rotated
      << " of them rotated";
  LOCKSTEP_DISPATCH(stream, RopeLora, x, parts, rotated, table);
}

}  // namespace lockstep::kernels
