#include "tensor/kernels/cross_entropy.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {

void CrossEntropy(const Stream& stream, const View& logits, const View& targets, const View& nll,
                  const CrossEntropyOptions& options) {
  CHECK_EQ(logits.rank, 2) << "[cross_entropy] logits: want [S, V], got " << Describe(logits);
  CHECK_SHAPE("cross_entropy", "targets", targets, logits.shape[0]);
  CHECK_DTYPE("cross_entropy", "targets", targets, DType::kI32);
  CHECK_SHAPE("cross_entropy", "nll", nll, logits.shape[0]);
  CHECK_DTYPE("cross_entropy", "nll", nll, DType::kF64);
  CHECK(logits.stride[1] == 1 && targets.contiguous() && nll.contiguous())
      << "[cross_entropy] want contiguous rows, got " << Describe(logits);
  CHECK_GE(options.softcap, 0) << "[cross_entropy] softcap";
  if (logits.shape[0] == 0) return;
  LOCKSTEP_DISPATCH(stream, CrossEntropy, logits, targets, nll, options);
}

}  // namespace lockstep::kernels
