#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/dropout.h"
#include "tensor/kernels/dropout_mask.h"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

constexpr int kThreads = 128;

// blockIdx.x is the token. A thread has 4 bytes: of 64 channels those that are at its 4 places
// among 8, one Philox block for each of their bits.
__global__ void __launch_bounds__(kThreads)
    DrawKernel(const int64_t* token_keys, const __grid_constant__ PhiloxKeys keys,
               uint32_t threshold, int words, uint32_t* bits) {
  WaitForPredecessors();
  const int word = blockIdx.y * kThreads + threadIdx.x;
  if (word >= words) return;
  const int64_t token_key = token_keys[blockIdx.x];
  const int64_t first_quad = word / 2 * 16 + word % 2;
  uint32_t kept = 0;
#pragma unroll
  for (int bit = 0; bit < 8; ++bit) {
    const PhiloxBlock drawn = DropoutWords(token_key, first_quad + 2 * bit, keys);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (drawn.word[i] >= threshold) kept |= 1u << (8 * i + bit);
    }
  }
  bits[static_cast<int64_t>(blockIdx.x) * words + word] = kept;
}

}  // namespace

void DrawDropout(const Stream& stream, const View& token_keys, uint64_t key,
                 const DropoutMask& mask) {
  const auto words = static_cast<int>(mask.bits.shape[1] / 4);
  const dim3 blocks(static_cast<unsigned>(mask.bits.shape[0]), Blocks(words, kThreads));
  StartKernel(DrawKernel, {blocks, kThreads}, stream, token_keys.as<int64_t>(),
              ExpandPhiloxKey(key), DropoutThreshold(mask.p), words, mask.bits.as<uint32_t>());
}

}  // namespace lockstep::kernels::cuda
