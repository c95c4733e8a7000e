#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/dropout.h"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

// blockIdx.x is the token, a thread four of its channels: one Philox block.
template <typename T>
__global__ void DropoutKernel(const T* x, int64_t x_row, const int64_t* __restrict__ token_keys,
                              T* y, int64_t y_row, int64_t width, uint64_t key, uint32_t threshold,
                              float scale, bool accumulate) {
  const int64_t quad = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
  if (4 * quad >= width) return;
  const PhiloxBlock words = DropoutWords(token_keys[blockIdx.x], quad, key);
  const T* from = x + blockIdx.x * x_row + 4 * quad;
  T* to = y + blockIdx.x * y_row + 4 * quad;
  const int count = static_cast<int>(min(int64_t{4}, width - 4 * quad));
  for (int i = 0; i < count; ++i) {
    const float kept = words.word[i] < threshold ? 0.0f : ToFloat(from[i]) * scale;
    to[i] = FromFloat<T>(accumulate ? ToFloat(to[i]) + kept : kept);
  }
}

}  // namespace

void Dropout(const Stream& stream, const View& x, const View& token_keys, const View& y,
             const DropoutOptions& options) {
  const int64_t rows = y.shape[0], width = y.shape[1];
  if (y.numel() == 0) return;
  DispatchType("dropout", y, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const dim3 grid(static_cast<unsigned>(rows), Blocks(width, 4 * 128));
    DropoutKernel<T><<<grid, 128, 0, Handle(stream)>>>(
        x.as<T>(), x.stride[0], token_keys.as<int64_t>(), y.as<T>(), y.stride[0], width,
        options.key, DropoutThreshold(options.p), static_cast<float>(1 / (1 - options.p)),
        options.accumulate);
    LOCKSTEP_CHECK_LAUNCH();
  });
}

}  // namespace lockstep::kernels::cuda
