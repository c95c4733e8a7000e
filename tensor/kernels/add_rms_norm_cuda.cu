#include "tensor/kernels/add_rms_norm.h"
#include "tensor/kernels/device/lora_share.cuh"
#include "tensor/kernels/device/norm.cuh"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

template <typename T>
struct Arguments {
  const T *residual, *branch, *post_w, *w;
  RmsNormOptions options;
  T *sum, *y;
  float *rstd, *post_rstd;
  int64_t width;
};

// One block a row: reads residual and branch once, writes sum and y once. The row stays in shared
// memory: first the branch (only with a post-norm), then the sum.
template <typename T, int N>
__global__ void AddRmsNormKernel(Arguments<T> a) {
  extern __shared__ __align__(16) char shared[];
  T* row = reinterpret_cast<T*>(shared);
  __shared__ float scratch[32];
  const int64_t start = blockIdx.x * a.width;
  const float eps = static_cast<float>(a.options.eps);
  float post_rstd = 0;
  if (a.post_w != nullptr) {
    float squares = 0;
    for (int64_t c = threadIdx.x * N; c < a.width; c += blockDim.x * N) {
      float v[N];
      Load(a.branch + start + c, v);
      Store(row + c, v);
#pragma unroll
      for (int i = 0; i < N; ++i) squares += v[i] * v[i];
    }
    post_rstd = rsqrtf(BlockSum(squares, scratch) / a.width + eps);
    if (a.post_rstd != nullptr && threadIdx.x == 0) a.post_rstd[blockIdx.x] = post_rstd;
  }
  float squares = 0;
  for (int64_t c = threadIdx.x * N; c < a.width; c += blockDim.x * N) {
    float r[N], b[N];
    Load(a.residual + start + c, r);
    if (a.post_w != nullptr) {
      float v[N], weight[N];
      Load(row + c, v);
      Load(a.post_w + c, weight);
      Scale<T>(v, weight, post_rstd, a.options.form, b);
    } else {
      Load(a.branch + start + c, b);
    }
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float branch = a.post_w != nullptr ? RoundTo<T>(b[i]) : b[i];
      r[i] = RoundTo<T>(r[i] + branch);
      squares += r[i] * r[i];
    }
    Store(row + c, r);
    Store(a.sum + start + c, r);
  }
  const float rstd = rsqrtf(BlockSum(squares, scratch) / a.width + eps);
  if (a.rstd != nullptr && threadIdx.x == 0) a.rstd[blockIdx.x] = rstd;
  for (int64_t c = threadIdx.x * N; c < a.width; c += blockDim.x * N) {
    float v[N], weight[N], out[N];
    Load(row + c, v);
    Load(a.w + c, weight);
    Scale<T>(v, weight, rstd, a.options.form, out);
    Store(a.y + start + c, out);
  }
}

// With LoRA's share: a block takes 8 rows, its warps strips of 64 columns in turn. The sums stay in
// shared memory, each at a place of the thread that computed it.
template <int kSteps>
__global__ void __launch_bounds__(kTileThreads, 2)
    AddShareRmsNormKernel(const bf16* residual, const bf16* branch, Share share,
                          const bf16* __restrict__ w, RmsNormOptions options, bf16* sum, bf16* y,
                          float* rstd_out, int64_t num_rows, int width) {
  extern __shared__ __align__(16) char shared[];
  uint4* kept = reinterpret_cast<uint4*>(shared) + threadIdx.x;
  __shared__ float scratch[kTileThreads / 32][kTileRows];
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * kTileRows;
  const int warp = threadIdx.x / 32, warps = blockDim.x / 32, step = warps * kTileColumns;
  float squares[2] = {};
  int place = 0;
  for (int column = warp * kTileColumns; column < width; column += step) {
    const TilePlace at(first_row, column);
    Vec<bf16, 8> added[2], values[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int64_t offset = min(at.row + i, num_rows - 1) * width + at.column;
      added[i] = *reinterpret_cast<const Vec<bf16, 8>*>(residual + offset);
      values[i] = *reinterpret_cast<const Vec<bf16, 8>*>(branch + offset);
    }
    const TileSums sums = ShareOf<kSteps>(share, first_row, num_rows, at.column);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int c = 0; c < 8; ++c) {
        const float x =
            ToFloat(added[i].v[c]) + (ToFloat(values[i].v[c]) + share.scale * sums.at(i, c));
        values[i].v[c] = FromFloat<bf16>(x);
        const float rounded = ToFloat(values[i].v[c]);
        squares[i] += rounded * rounded;
      }
      kept[place] = *reinterpret_cast<const uint4*>(&values[i]);
      place += blockDim.x;
      if (at.row + i < num_rows) {
        *reinterpret_cast<Vec<bf16, 8>*>(sum + (at.row + i) * width + at.column) = values[i];
      }
    }
  }
  TileRowSums(squares, scratch);
  float rstd[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    rstd[i] = rsqrtf(squares[i] / width + static_cast<float>(options.eps));
    const int64_t row = first_row + threadIdx.x % 4 * 2 + i;
    if (rstd_out != nullptr && threadIdx.x < 4 && row < num_rows) rstd_out[row] = rstd[i];
  }
  place = 0;
  for (int column = warp * kTileColumns; column < width; column += step) {
    const TilePlace at(first_row, column);
    float weight[8], value[8], out[8];
    Load(w + at.column, weight);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      Load(reinterpret_cast<const bf16*>(kept + place), value);
      place += blockDim.x;
      Scale<bf16>(value, weight, rstd[i], options.form, out);
      if (at.row + i < num_rows) Store(y + (at.row + i) * width + at.column, out);
    }
  }
}

}  // namespace

void AddRmsNorm(const Stream& stream, const View& residual, const View& branch,
                const LoraShare& share, const View& post_w, const View& w,
                const RmsNormOptions& options, const View& sum, const View& y, const View& rstd,
                const View& post_rstd) {
  const int64_t rows = y.shape[0], width = y.shape[1];
  if (y.numel() == 0) return;
  bool vectors = true;
  for (const View* view : {&residual, &branch, &sum, &y, &w}) {
    vectors = vectors && Vectorizable(*view, width, width);
  }
  if (!share.empty()) {
    const Share device_share(share);
    if (!vectors || !AddRmsNormTakes(y.dtype, width)) {
      Unsupported("add_rms_norm with a share", y);
    }
    DispatchSteps(device_share.rank, [&](auto steps) {
      auto* kernel = &AddShareRmsNormKernel<steps()>;
      const TileLaunch launch(rows, width);
      AllowSharedMemory(kernel, launch.row_bytes);
      kernel<<<launch.blocks, launch.threads, launch.row_bytes, Handle(stream)>>>(
          residual.as<bf16>(), branch.as<bf16>(), device_share, w.as<bf16>(), options,
          sum.as<bf16>(), y.as<bf16>(), rstd.as<float>(), rows, static_cast<int>(width));
      LOCKSTEP_CHECK_LAUNCH();
    });
    return;
  }
  if (post_w.data != nullptr) vectors = vectors && Vectorizable(post_w, width, width);
  DispatchType("add_rms_norm", y, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const Arguments<T> arguments = {
        residual.as<T>(), branch.as<T>(),   post_w.as<T>(),        w.as<T>(), options, sum.as<T>(),
        y.as<T>(),        rstd.as<float>(), post_rstd.as<float>(), width};
    const auto launch = [&](auto n) {
      auto* kernel = &AddRmsNormKernel<T, n()>;
      const size_t shared = width * sizeof(T);
      AllowSharedMemory(kernel, shared);
      kernel<<<rows, NormThreads(width, n()), shared, Handle(stream)>>>(arguments);
      LOCKSTEP_CHECK_LAUNCH();
    };
    if (vectors) {
      launch(std::integral_constant<int, kVec<T>>());
    } else {
      launch(std::integral_constant<int, 1>());
    }
  });
}

}  // namespace lockstep::kernels::cuda
