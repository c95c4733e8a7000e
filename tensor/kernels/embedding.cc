#include "tensor/kernels/embedding.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {
namespace {

// What both directions share: `rows` [T, C] and `table` [V, C].
void CheckArguments(const char* op, const View& ids, const View& rows, const View& table) {
  CHECK_EQ(table.rank, 2) << "[" << op << "] table: want [V, C], got " << Describe(table);
  CHECK_EQ(ids.rank, 1) << "[" << op << "] ids: want [T], got " << Describe(ids);
  CHECK_DTYPE(op, "ids", ids, DType::kI32);
  CHECK_SHAPE(op, "rows", rows, ids.shape[0], table.shape[1]);
  CHECK(ids.contiguous()) << "[" << op << "] ids: want contiguous elements";
  CHECK((rows.stride[1] == 1 && table.stride[1] == 1) || table.shape[1] <= 1)
      << "[" << op << "] want contiguous rows, got " << Describe(rows) << " and "
      << Describe(table);
}

}  // namespace

void Embedding(const Stream& stream, const View& ids, const View& table, double scale,
               const View& y) {
  CheckArguments("embedding", ids, y, table);
  if (y.numel() == 0) return;
  LOCKSTEP_DISPATCH(stream, Embedding, ids, table, scale, y);
}

void EmbeddingBackward(const Stream& stream, const View& ids, const View& dy, double scale,
                       bool accumulate, const View& dtable) {
  CheckArguments("embedding_backward", ids, dy, dtable);
  CheckSumType("embedding_backward", "dtable", dtable, dy.dtype);
  LOCKSTEP_DISPATCH(stream, EmbeddingBackward, ids, dy, scale, accumulate, dtable);
}

}  // namespace lockstep::kernels
