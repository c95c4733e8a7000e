#include "tensor/kernels/dropout.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {

void Dropout(const Stream& stream, const View& x, const View& token_keys, const View& y,
             const DropoutOptions& options) {
  CHECK_EQ(x.rank, 2) << "[dropout] x: want [T, C], got " << Describe(x);
  CHECK_SHAPE("dropout", "token_keys", token_keys, x.shape[0]);
  CHECK_DTYPE("dropout", "token_keys", token_keys, DType::kI64);
  CHECK_SHAPE("dropout", "y", y, x.shape[0], x.shape[1]);
  CHECK_DTYPE("dropout", "y", y, x.dtype);
  CHECK(token_keys.contiguous() && x.stride[1] == 1 && y.stride[1] == 1)
      << "[dropout] want contiguous rows, got " << Describe(x) << " and " << Describe(y);
  CHECK(options.p >= 0 && options.p < 1) << "[dropout] want 0 ≤ p < 1, got " << options.p;
  if (x.numel() == 0) return;
  LOCKSTEP_DISPATCH(stream, Dropout, x, token_keys, y, options);
}

}  // namespace lockstep::kernels
