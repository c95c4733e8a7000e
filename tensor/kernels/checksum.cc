#include "tensor/kernels/checksum.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {

void Checksum(const Stream& stream, const View& x, const View& y) {
  CHECK(x.contiguous() && x.num_bytes() % sizeof(uint64_t) == 0)
      << "[checksum] x: want contiguous 64-bit words, got " << Describe(x);
  CHECK_SHAPE("checksum", "y", y, 1);
  CHECK_DTYPE("checksum", "y", y, DType::kI64);
  LOCKSTEP_DISPATCH(stream, Checksum, x, y);
}

}  // namespace lockstep::kernels
