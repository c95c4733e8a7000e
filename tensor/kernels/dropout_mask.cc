#include "tensor/kernels/dropout_mask.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {

void DrawDropout(const Stream& stream, const View& token_keys, uint64_t key,
                 const DropoutMask& mask) {
  constexpr char kOp[] = "dropout_mask";
  CHECK_SHAPE(kOp, "bits", mask.bits, token_keys.shape[0], mask.bits.shape[1]);
  CHECK_DTYPE(kOp, "token_keys", token_keys, DType::kI64);
  CHECK_DTYPE(kOp, "bits", mask.bits, DType::kU8);
  CHECK(token_keys.contiguous() && mask.bits.contiguous() && mask.bits.shape[1] % 16 == 0)
      << "[dropout_mask] bits: " << Describe(mask.bits);
  CHECK(mask.p >= 0 && mask.p < 1) << "[dropout_mask] want 0 ≤ p < 1, got " << mask.p;
  if (mask.bits.numel() == 0) return;
  LOCKSTEP_DISPATCH(stream, DrawDropout, token_keys, key, mask);
}

}  // namespace lockstep::kernels
