#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/device/reduce.cuh"
#include "tensor/kernels/dora.h"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

// One block a row of W. Reads W once; A comes from L2, which all rows share.
template <typename W, typename T>
__global__ void DoraNormKernel(const W* __restrict__ w, int64_t w_stride, const T* __restrict__ a,
                               int64_t a_stride, const T* __restrict__ b, int64_t b_stride,
                               int64_t columns, int rank, float scale, float* __restrict__ norm) {
  WaitForPredecessors();
  // [rank, up to a multiple of 4, since they are read by fours]: scale · B[n, :]
  extern __shared__ float factors[];
  __shared__ float scratch[32];
  const int64_t n = blockIdx.x;
  for (int r = threadIdx.x; r < rank; r += blockDim.x) {
    factors[r] = scale * ToFloat(b[n * b_stride + r]);
  }
  __syncthreads();
  float squares = 0;
  for (int64_t c = threadIdx.x; c < columns; c += blockDim.x) {
    float merged = ToFloat(w[n * w_stride + c]);
    for (int r = 0; r < rank; ++r) merged += factors[r] * ToFloat(a[r * a_stride + c]);
    squares += merged * merged;
  }
  squares = BlockSum(squares, scratch);
  if (threadIdx.x == 0) norm[n] = sqrtf(squares);
}

// One thread N neighboring columns of a row: grid (rows, column groups).
template <typename T, int N>
__global__ void DoraForwardKernel(const T* x, int64_t x_stride, const float* __restrict__ m,
                                  const float* __restrict__ norm, const float* __restrict__ bias,
                                  const bf16* __restrict__ narrow_bias, int64_t columns, T* y,
                                  int64_t y_stride) {
  WaitForPredecessors();
  const int64_t first = (static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x) * N;
  if (first >= columns) return;
  float values[N];
  Load<T, N>(x + blockIdx.x * x_stride + first, values);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const int64_t n = first + i;
    values[i] *= m[n] / norm[n];
    if (bias != nullptr) values[i] += bias[n];
    if (narrow_bias != nullptr) values[i] += ToFloat(narrow_bias[n]);
  }
  Store<T, N>(y + blockIdx.x * y_stride + first, values);
}

// One block 32 columns: warp w takes rows w, w + 32, …; then the warps' sums in order.
template <typename T>
__global__ void DoraBackwardKernel(const T* dy, int64_t dy_stride, const T* __restrict__ x,
                                   int64_t x_stride, const float* __restrict__ m,
                                   const float* __restrict__ norm, int64_t rows, int64_t columns,
                                   T* dx, int64_t dx_stride, bool accumulate, float* dm) {
  WaitForPredecessors();
  __shared__ float parts[32][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t n = static_cast<int64_t>(blockIdx.x) * 32 + lane;
  float sum = 0;
  if (n < columns) {
    const float factor = m[n] / norm[n];
    for (int64_t t = warp; t < rows; t += 32) {
      const float d = ToFloat(dy[t * dy_stride + n]);
      sum += d * ToFloat(x[t * x_stride + n]);
      dx[t * dx_stride + n] = FromFloat<T>(factor * d);
    }
  }
  parts[warp][lane] = sum;
  __syncthreads();
  if (warp != 0 || n >= columns || dm == nullptr) return;
  float total = 0;
  for (int w = 0; w < 32; ++w) total += parts[w][lane];
  dm[n] = (accumulate ? dm[n] : 0.0f) + total / norm[n];
}

}  // namespace

void DoraNorm(const Stream& stream, const View& w, const View& a, const View& b, double scale,
              const View& norm) {
  if (norm.numel() == 0) return;
  DispatchType("dora_norm", w, [&](auto* weight) {
    DispatchType("dora_norm", a, [&](auto* adapter) {
      using W = std::remove_pointer_t<decltype(weight)>;
      using T = std::remove_pointer_t<decltype(adapter)>;
      const int rank = static_cast<int>(a.shape[0]);
      const size_t shared = (rank + 3) / 4 * 4 * sizeof(float);
      StartKernel(DoraNormKernel<W, T>, {Blocks(w.shape[0], 1), 256, shared}, stream, w.as<W>(),
                  w.stride[0], a.as<T>(), a.stride[0], b.as<T>(), b.stride[0], w.shape[1], rank,
                  static_cast<float>(scale), norm.as<float>());
    });
  });
}

void DoraForward(const Stream& stream, const View& x, const View& m, const View& norm,
                 const View& bias, const View& y) {
  if (x.numel() == 0) return;
  const bool has_bias = bias.rank != 0;
  if (has_bias && bias.dtype == DType::kF16) Unsupported("dora_forward", bias);
  DispatchType("dora_forward", x, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    const auto launch = [&](auto kernel, int per_thread) {
      const dim3 grid(static_cast<unsigned>(x.shape[0]), Blocks(x.shape[1], 256 * per_thread));
      StartKernel(kernel, {grid, 256}, stream, x.as<T>(), x.stride[0], m.as<float>(),
                  norm.as<float>(),
                  has_bias && bias.dtype == DType::kF32 ? bias.as<float>() : nullptr,
                  has_bias && bias.dtype == DType::kBF16 ? bias.as<bf16>() : nullptr, x.shape[1],
                  y.as<T>(), y.stride[0]);
    };
    if (Vectorizable(x, x.shape[1], x.stride[0]) && Vectorizable(y, x.shape[1], y.stride[0])) {
      launch(DoraForwardKernel<T, kVec<T>>, kVec<T>);
    } else {
      launch(DoraForwardKernel<T, 1>, 1);
    }
  });
}

void DoraBackward(const Stream& stream, const View& dy, const View& x, const View& m,
                  const View& norm, const View& dx, bool accumulate, const View& dm) {
  if (dy.shape[1] == 0) return;
  DispatchType("dora_backward", dy, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    StartKernel(DoraBackwardKernel<T>, {Blocks(dy.shape[1], 32), 1024}, stream, dy.as<T>(),
                dy.stride[0], x.as<T>(), x.stride[0], m.as<float>(), norm.as<float>(), dy.shape[0],
                dy.shape[1], dx.as<T>(), dx.stride[0], accumulate,
                dm.rank != 0 ? dm.as<float>() : nullptr);
  });
}

}  // namespace lockstep::kernels::cuda
