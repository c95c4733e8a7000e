#include <algorithm>

#include "base/thread_pool.h"
#include "tensor/kernels/dropout.h"
#include "tensor/kernels/dropout_mask.h"

namespace lockstep::kernels::cpu {

void DrawDropout(const Stream&, const View& token_keys, uint64_t key, const DropoutMask& mask) {
  const uint32_t threshold = DropoutThreshold(mask.p);
  const PhiloxKeys keys = ExpandPhiloxKey(key);
  const int64_t bytes = mask.bits.shape[1];
  ParallelForRange(token_keys.shape[0], 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      uint8_t* const row = mask.bits.as<uint8_t>() + t * bytes;
      std::fill(row, row + bytes, uint8_t{0});
      for (int64_t c = 0; c < 8 * bytes; c += 4) {
        const PhiloxBlock words = DropoutWords(token_keys.as<int64_t>()[t], c / 4, keys);
        for (int64_t i = 0; i < 4; ++i) {
          const int kept = words.word[i] < threshold ? 0 : 1;
          row[DropoutByte(c + i)] |= static_cast<uint8_t>(kept << DropoutBit(c + i));
        }
      }
    }
  });
}

}  // namespace lockstep::kernels::cpu
