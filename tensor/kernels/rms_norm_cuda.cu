#include "tensor/kernels/device/norm.cuh"
#include "tensor/kernels/rms_norm.h"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

// x as [T, N, C]: [T, C] has one "head".
struct Rows {
  int64_t tokens, heads, width;
  explicit Rows(const View& x)
      : tokens(x.shape[0]), heads(x.rank == 3 ? x.shape[1] : 1), width(x.shape[x.rank - 1]) {}
  int64_t count() const { return tokens * heads; }
};

// Where row r = t·heads + n of x starts.
struct RowStart {
  int64_t token_stride, head_stride;
  unsigned heads;
  explicit RowStart(const View& x)
      : token_stride(x.stride[0]),
        head_stride(x.rank == 3 ? x.stride[1] : 0),
        heads(x.rank == 3 ? static_cast<unsigned>(x.shape[1]) : 1) {}
  __device__ int64_t operator()(unsigned row) const {
    return row / heads * token_stride + row % heads * head_stride;
  }
};

bool RowsVectorizable(const View& x) {
  const int64_t width = x.shape[x.rank - 1];
  return Vectorizable(x, width, x.stride[0]) && (x.rank < 3 || Vectorizable(x, width, x.stride[1]));
}

// One block a row. Reads and writes each element once.
template <typename T, int N>
__global__ void RmsNormKernel(const T* x, RowStart x_start, const T* __restrict__ w,
                              RmsNormOptions options, T* y, RowStart y_start, float* rstd_out,
                              int64_t width) {
  extern __shared__ __align__(16) char shared[];
  T* row = reinterpret_cast<T*>(shared);
  __shared__ float scratch[32];
  const T* from = x + x_start(blockIdx.x);
  float sum = 0;
  for (int64_t c = threadIdx.x * N; c < width; c += blockDim.x * N) {
    float v[N];
    Load(from + c, v);
    Store(row + c, v);
#pragma unroll
    for (int i = 0; i < N; ++i) sum += v[i] * v[i];
  }
  const float rstd = rsqrtf(BlockSum(sum, scratch) / width + static_cast<float>(options.eps));
  if (rstd_out != nullptr && threadIdx.x == 0) rstd_out[blockIdx.x] = rstd;
  T* to = y + y_start(blockIdx.x);
  for (int64_t c = threadIdx.x * N; c < width; c += blockDim.x * N) {
    float v[N], weight[N], out[N];
    Load(row + c, v);
    Load(w + c, weight);
    Scale<T>(v, weight, rstd, options.form, out);
    Store(to + c, out);
  }
}

// Chunks of a row that a thread keeps in registers between the sum and the result; it reads what
// lies beyond them again.
constexpr int kKept = 2;

// One block a row: dx = addend + rstd·(g·dy − x̂·mean(g·dy·x̂)).
template <typename T, int N>
__global__ void BackwardKernel(const T* dy, RowStart dy_start, const T* __restrict__ x,
                               RowStart x_start, const T* __restrict__ w,
                               const float* __restrict__ rstd, RmsNormOptions options,
                               const T* addend, RowStart addend_start, T* dx, RowStart dx_start,
                               int width) {
  __shared__ float scratch[32];
  const float r = rstd[blockIdx.x];
  const float one = options.form == NormForm::kGemma ? 1.0f : 0.0f;
  const int first = threadIdx.x * N, step = blockDim.x * N;
  dy += dy_start(blockIdx.x);
  x += x_start(blockIdx.x);
  dx += dx_start(blockIdx.x);
  if (addend != nullptr) addend += addend_start(blockIdx.x);
  // g·dy and x̂ of one chunk; returns their product's sum.
  const auto read = [&](int c, float(&scaled)[N], float(&normed)[N]) {
    float weight[N], sum = 0;
    Load(dy + c, scaled);
    Load(x + c, normed);
    Load(w + c, weight);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      scaled[i] *= one + weight[i];
      normed[i] *= r;
      sum += scaled[i] * normed[i];
    }
    return sum;
  };
  float mean = 0;
  const auto write = [&](int c, const float(&scaled)[N], const float(&normed)[N]) {
    float out[N] = {};
    if (addend != nullptr) Load(addend + c, out);
#pragma unroll
    for (int i = 0; i < N; ++i) out[i] += r * (scaled[i] - normed[i] * mean);
    Store(dx + c, out);
  };
  float scaled[kKept][N], normed[kKept][N], sum = 0;
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    if (first + k * step < width) sum += read(first + k * step, scaled[k], normed[k]);
  }
  float again_scaled[N], again_normed[N];
  for (int c = first + kKept * step; c < width; c += step) {
    sum += read(c, again_scaled, again_normed);
  }
  mean = BlockSum(sum, scratch) / width;
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    if (first + k * step < width) write(first + k * step, scaled[k], normed[k]);
  }
  for (int c = first + kKept * step; c < width; c += step) {
    read(c, again_scaled, again_normed);
    write(c, again_scaled, again_normed);
  }
}

// Block (columns, range): partial[range, c] = Σ of dy·x̂ over the range's rows, in order.
template <typename T>
__global__ void WeightPartials(const T* __restrict__ dy, RowStart dy_start, const T* __restrict__ x,
                               RowStart x_start, const float* __restrict__ rstd, int64_t rows,
                               int64_t width, float* __restrict__ partials) {
  const int64_t c = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= width) return;
  const int64_t ranges = gridDim.y, range = blockIdx.y;
  float sum = 0;
  for (int64_t row = rows * range / ranges; row < rows * (range + 1) / ranges; ++row) {
    sum += ToFloat(dy[dy_start(row) + c]) * ToFloat(x[x_start(row) + c]) * rstd[row];
  }
  partials[range * width + c] = sum;
}

__global__ void SumPartials(const float* __restrict__ partials, int64_t ranges, int64_t width,
                            bool accumulate, float* __restrict__ dw) {
  const int64_t c = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= width) return;
  float sum = accumulate ? dw[c] : 0.0f;
  for (int64_t range = 0; range < ranges; ++range) sum += partials[range * width + c];
  dw[c] = sum;
}

// y = g · x·rstd, one block a row; y's bits are RmsNormKernel's.
template <typename T, int N>
__global__ void AgainKernel(const T* __restrict__ x, const T* __restrict__ w,
                            const float* __restrict__ rstd, RmsNormOptions options, T* y,
                            int64_t width) {
  const float r = rstd[blockIdx.x];
  const int64_t start = blockIdx.x * width;
  for (int64_t c = threadIdx.x * N; c < width; c += blockDim.x * N) {
    float v[N], weight[N], out[N];
    Load(x + start + c, v);
    Load(w + c, weight);
    Scale<T>(v, weight, r, options.form, out);
    Store(y + start + c, out);
  }
}

}  // namespace

void RmsNorm(const Stream& stream, const View& x, const View& w, const RmsNormOptions& options,
             const View& y, const View& rstd) {
  const Rows rows(x);
  if (x.numel() == 0) return;
  DispatchType("rms_norm", x, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const auto launch = [&](auto n) {
      auto* kernel = &RmsNormKernel<T, n()>;
      const size_t shared = rows.width * sizeof(T);
      AllowSharedMemory(kernel, shared);
      kernel<<<rows.count(), NormThreads(rows.width, n()), shared, Handle(stream)>>>(
          x.as<T>(), RowStart(x), w.as<T>(), options, y.as<T>(), RowStart(y), rstd.as<float>(),
          rows.width);
      LOCKSTEP_CHECK_LAUNCH();
    };
    if (RowsVectorizable(x) && RowsVectorizable(y) && Vectorizable(w, rows.width, 0)) {
      launch(std::integral_constant<int, kVec<T>>());
    } else {
      launch(std::integral_constant<int, 1>());
    }
  });
}

void RmsNormAgain(const Stream& stream, const View& x, const View& w, const View& rstd,
                  const RmsNormOptions& options, const View& y) {
  const int64_t rows = x.shape[0], width = x.shape[1];
  if (x.numel() == 0) return;
  DispatchType("rms_norm", x, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const auto launch = [&](auto n) {
      AgainKernel<T, n()><<<rows, NormThreads(width, n()), 0, Handle(stream)>>>(
          x.as<T>(), w.as<T>(), rstd.as<float>(), options, y.as<T>(), width);
      LOCKSTEP_CHECK_LAUNCH();
    };
    if (RowsVectorizable(x) && RowsVectorizable(y) && Vectorizable(w, width, 0)) {
      launch(std::integral_constant<int, kVec<T>>());
    } else {
      launch(std::integral_constant<int, 1>());
    }
  });
}

void RmsNormBackward(const Stream& stream, const View& dy, const View& x, const View& w,
                     const View& rstd, const RmsNormOptions& options, const View& addend,
                     const View& dx, const View& dw, bool accumulate, const View& partials) {
  const Rows rows(x);
  if (x.numel() == 0) {
    if (dw.data != nullptr && !accumulate) {
      LOCKSTEP_CUDA_CHECK(cudaMemsetAsync(dw.data, 0, dw.num_bytes(), Handle(stream)));
    }
    return;
  }
  const View& added = addend.data != nullptr ? addend : dx;
  DispatchType("rms_norm", x, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    if (dw.data != nullptr) {  // before dx, which may be dy's memory
      const int64_t ranges = RmsNormPartials(rows.count());
      const dim3 grid(Blocks(rows.width, 128), static_cast<unsigned>(ranges));
      WeightPartials<T><<<grid, 128, 0, Handle(stream)>>>(
          dy.as<T>(), RowStart(dy), x.as<T>(), RowStart(x), rstd.as<float>(), rows.count(),
          rows.width, partials.as<float>());
      LOCKSTEP_CHECK_LAUNCH();
      SumPartials<<<Blocks(rows.width, 128), 128, 0, Handle(stream)>>>(
          partials.as<float>(), ranges, rows.width, accumulate, dw.as<float>());
      LOCKSTEP_CHECK_LAUNCH();
    }
    const auto launch = [&](auto n) {
      BackwardKernel<T, n()><<<rows.count(), NormThreads(rows.width, n()), 0, Handle(stream)>>>(
          dy.as<T>(), RowStart(dy), x.as<T>(), RowStart(x), w.as<T>(), rstd.as<float>(), options,
          addend.as<T>(), RowStart(added), dx.as<T>(), RowStart(dx), static_cast<int>(rows.width));
      LOCKSTEP_CHECK_LAUNCH();
    };
    if (RowsVectorizable(x) && RowsVectorizable(dy) && RowsVectorizable(dx) &&
        RowsVectorizable(added) && Vectorizable(w, rows.width, 0)) {
      launch(std::integral_constant<int, kVec<T>>());
    } else {
      launch(std::integral_constant<int, 1>());
    }
  });
}

}  // namespace lockstep::kernels::cuda
