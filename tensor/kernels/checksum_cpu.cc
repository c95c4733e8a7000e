#include <atomic>

#include "base/thread_pool.h"
#include "tensor/kernels/checksum.h"

namespace lockstep::kernels::cpu {

void Checksum(const Stream& stream, const View& x, const View& y) {
  const auto* words = static_cast<const uint64_t*>(x.data);
  std::atomic<uint64_t> sum{0};
  ParallelForRange(x.num_bytes() / sizeof(uint64_t), 1 << 16, [&](int64_t begin, int64_t end) {
    uint64_t part = 0;
    for (int64_t i = begin; i < end; ++i) part += ChecksumTerm(words[i], i);
    sum += part;
  });
  y.as<int64_t>()[0] = static_cast<int64_t>(sum.load());
}

}  // namespace lockstep::kernels::cpu
