#include <algorithm>

#include "base/thread_pool.h"
#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/dropout.h"

namespace lockstep::kernels::cpu {
namespace {

// Quads of channels whose words are computed side by side, in vector registers.
constexpr int64_t kQuads = 8;

template <typename T>
void DropoutRow(const T* x, int64_t channels, int64_t token_key, T* y,
                const DropoutOptions& options) {
  const uint32_t threshold = DropoutThreshold(options.p);
  const T scale = static_cast<T>(1 / (1 - options.p));
  const PhiloxKeys keys = ExpandPhiloxKey(options.key);
  for (int64_t c0 = 0; c0 < channels; c0 += 4 * kQuads) {
    T factor[4 * kQuads];
    for (int64_t quad = 0; quad < kQuads; ++quad) {
      const PhiloxBlock words = DropoutWords(token_key, c0 / 4 + quad, keys);
      for (int i = 0; i < 4; ++i) {
        factor[4 * quad + i] = words.word[i] < threshold ? T{0} : scale;
      }
    }
    const int64_t end = std::min(channels - c0, 4 * kQuads);
    for (int64_t c = 0; c < end; ++c) {
      const T kept = x[c0 + c] * factor[c];
      y[c0 + c] = options.accumulate ? y[c0 + c] + kept : kept;
    }
  }
}

}  // namespace

void Dropout(const Stream& stream, const View& x, const View& token_keys, const View& y,
             const DropoutOptions& options) {
  DispatchFloat(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    ParallelForRange(x.shape[0], 16, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        DropoutRow(x.as<T>() + t * x.stride[0], x.shape[1], token_keys.as<int64_t>()[t],
                   y.as<T>() + t * y.stride[0], options);
      }
    });
  });
}

}  // namespace lockstep::kernels::cpu
