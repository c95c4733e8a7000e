#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/dropout.h"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

struct Arguments {
  int64_t x_row, y_row;
  const int64_t* token_keys;
  int width;
  PhiloxKeys keys;
  uint32_t threshold;
  float scale;
  bool accumulate;
};

constexpr int kThreads = 128, kPieces = 4;

// blockIdx.x is the token, a thread kPieces times N neighboring channels of it: N / 4 Philox blocks
// each.
template <typename T, int N>
__global__ void __launch_bounds__(kThreads)
    VectorKernel(const T* x, T* y, const __grid_constant__ Arguments a) {
  WaitForPredecessors();
  const int first = (blockIdx.y * kPieces * kThreads + threadIdx.x) * N;
  x += blockIdx.x * a.x_row;
  y += blockIdx.x * a.y_row;
  const int64_t token_key = a.token_keys[blockIdx.x];
  Packed<T, N> from[kPieces] = {}, old[kPieces] = {};
#pragma unroll
  for (int k = 0; k < kPieces; ++k) {
    const int c = first + k * kThreads * N;
    if (c >= a.width) continue;
    from[k] = LoadPacked<T, N>(x + c);
    if (a.accumulate) old[k] = LoadPacked<T, N>(y + c);
  }
#pragma unroll
  for (int k = 0; k < kPieces; ++k) {
    const int c = first + k * kThreads * N;
    if (c >= a.width) continue;
    float to[N];
#pragma unroll
    for (int quad = 0; quad < N / 4; ++quad) {
      const PhiloxBlock words = DropoutWords(token_key, c / 4 + quad, a.keys);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int e = 4 * quad + i;
        to[e] = words.word[i] < a.threshold ? 0.0f : from[k][e] * a.scale;
      }
    }
    if (a.accumulate) {
#pragma unroll
      for (int i = 0; i < N; ++i) to[i] += old[k][i];
    }
    StorePacked(y + c, Rounded<T>(to));
  }
}

// Any alignment: blockIdx.x is the token, a thread four of its channels.
template <typename T>
__global__ void __launch_bounds__(kThreads) DropoutKernel(const T* x, T* y, const Arguments a) {
  WaitForPredecessors();
  const int c = (blockIdx.y * kThreads + threadIdx.x) * 4;
  if (c >= a.width) return;
  const PhiloxBlock words = DropoutWords(a.token_keys[blockIdx.x], c / 4, a.keys);
  x += blockIdx.x * a.x_row + c;
  y += blockIdx.x * a.y_row + c;
  for (int i = 0; i < min(4, a.width - c); ++i) {
    const float kept = words.word[i] < a.threshold ? 0.0f : ToFloat(x[i]) * a.scale;
    y[i] = FromFloat<T>(a.accumulate ? ToFloat(y[i]) + kept : kept);
  }
}

}  // namespace

void Dropout(const Stream& stream, const View& x, const View& token_keys, const View& y,
             const DropoutOptions& options) {
  const int64_t rows = y.shape[0], width = y.shape[1];
  if (y.numel() == 0) return;
  const Arguments arguments = {x.stride[0],
                               y.stride[0],
                               token_keys.as<int64_t>(),
                               static_cast<int>(width),
                               ExpandPhiloxKey(options.key),
                               DropoutThreshold(options.p),
                               static_cast<float>(1 / (1 - options.p)),
                               options.accumulate};
  const auto grid = [&](int n) {
    return dim3(static_cast<unsigned>(rows), Blocks(width, n * kThreads));
  };
  DispatchType("dropout", y, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    if (Vectorizable(x, width, x.stride[0]) && Vectorizable(y, width, y.stride[0])) {
      StartKernel(VectorKernel<T, kVec<T>>, {grid(kPieces * kVec<T>), kThreads}, stream, x.as<T>(),
                  y.as<T>(), arguments);
    } else {
      StartKernel(DropoutKernel<T>, {grid(4), kThreads}, stream, x.as<T>(), y.as<T>(), arguments);
    }
  });
}

}  // namespace lockstep::kernels::cuda
