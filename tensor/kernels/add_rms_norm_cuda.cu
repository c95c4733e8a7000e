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
  unsigned rows;
  int width;
};

template <typename T, int N>
__device__ __forceinline__ Packed<T, N> Sum(const Packed<T, N>& a, const Packed<T, N>& b) {
  float x[N], y[N];
  Widen(a, x);
  Widen(b, y);
#pragma unroll
  for (int i = 0; i < N; ++i) x[i] += y[i];
  return Rounded<T>(x);
}

// One team a row: reads residual and branch once, writes sum and y once.
template <typename T, int N, typename Team>
__global__ void __launch_bounds__(Team::kMostThreads, Team::kBlocks)
    AddRmsNormKernel(const Arguments<T> a) {
  constexpr int kKept = Team::kKept;
  const Team team;
  const unsigned row = min(team.row(), a.rows - 1);
  const bool valid = team.row() < a.rows;
  const int first = team.member * N, step = team.size * N, beyond = first + kKept * step;
  const int64_t start = static_cast<int64_t>(row) * a.width;
  const T *residual = a.residual + start, *branch = a.branch + start;
  T *sum = a.sum + start, *y = a.y + start;
  Packed<T, N> kept[kKept] = {}, added[kKept] = {}, w[kKept] = {};
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    if (const int c = first + k * step; c < a.width) {
      kept[k] = LoadPacked<T, N>(branch + c);
      added[k] = LoadPacked<T, N>(residual + c);
      w[k] = LoadPacked<T, N>(a.w + c);
    }
  }
  float post_rstd = 0;
  if (a.post_w != nullptr) {
    float squares = 0;
#pragma unroll
    for (int k = 0; k < kKept; ++k) squares += SquaresOf(kept[k]);
    for (int c = beyond; c < a.width; c += step) squares += SquaresOf(LoadPacked<T, N>(branch + c));
    post_rstd = Rstd(team.Sum(squares), a.width, a.options);
    if (a.post_rstd != nullptr && team.member == 0 && valid) a.post_rstd[row] = post_rstd;
  }
  const auto add = [&](int c, const Packed<T, N>& to, Packed<T, N> x) {
    if (a.post_w != nullptr) {
      x = Scaled(x, LoadPacked<T, N>(a.post_w + c), post_rstd, a.options.form);
    }
    x = Sum(to, x);
    if (valid) StorePacked(sum + c, x);
    return x;
  };
  float squares = 0;
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    if (const int c = first + k * step; c < a.width) kept[k] = add(c, added[k], kept[k]);
    squares += SquaresOf(kept[k]);
  }
  for (int c = beyond; c < a.width; c += step) {
    squares += SquaresOf(add(c, LoadPacked<T, N>(residual + c), LoadPacked<T, N>(branch + c)));
  }
  const float rstd = Rstd(team.Sum(squares), a.width, a.options);
  if (!valid) return;
  if (a.rstd != nullptr && team.member == 0) a.rstd[row] = rstd;
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    if (const int c = first + k * step; c < a.width) {
      StorePacked(y + c, Scaled(kept[k], w[k], rstd, a.options.form));
    }
  }
  for (int c = beyond; c < a.width; c += step) {
    StorePacked(y + c,
                Scaled(LoadPacked<T, N>(sum + c), LoadPacked<T, N>(a.w + c), rstd, a.options.form));
  }
}

// Kernels that add LoRA's share (lora_share.cuh) take 8 rows a block, whose warps go through strips
// of 64 columns in turn.
constexpr int kTileThreads = 512;

struct TileLaunch {
  unsigned blocks, threads;
  size_t row_bytes;  // shared memory that keeps the block's rows in bf16
  TileLaunch(int64_t rows, int64_t width) : blocks(Blocks(rows, kTileRows)) {
    const int64_t strips = Blocks(width, kTileColumns), warps = kTileThreads / 32;
    threads = static_cast<unsigned>(32 * std::min(strips, warps));
    row_bytes = threads * 32 * Blocks(strips, threads / 32);
  }
};

// For each of the block's 8 rows, the sum over all threads; a thread hands in and gets those of its
// own two. `scratch` has a row a warp.
__device__ __forceinline__ void TileRowSums(float (&sums)[2],
                                            float (&scratch)[kTileThreads / 32][kTileRows]) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
#pragma unroll
  for (int offset = 4; offset < 32; offset *= 2) {
    sums[0] += __shfl_xor_sync(0xFFFFFFFFu, sums[0], offset);
    sums[1] += __shfl_xor_sync(0xFFFFFFFFu, sums[1], offset);
  }
  if (lane < 4) {
    scratch[warp][2 * lane] = sums[0];
    scratch[warp][2 * lane + 1] = sums[1];
  }
  __syncthreads();
  sums[0] = sums[1] = 0;
  for (int other = 0; other < warps; ++other) {
    sums[0] += scratch[other][2 * (lane % 4)];
    sums[1] += scratch[other][2 * (lane % 4) + 1];
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
    const Packed<bf16, 8> weight = LoadPacked<bf16, 8>(w + at.column);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const Packed<bf16, 8> value = *reinterpret_cast<const Packed<bf16, 8>*>(kept + place);
      place += blockDim.x;
      const Packed<bf16, 8> out = Scaled(value, weight, rstd[i], options.form);
      if (at.row + i < num_rows) StorePacked(y + (at.row + i) * width + at.column, out);
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
    if (!vectors || !AddRmsNormTakes(y.dtype, width)) {
      Unsupported("add_rms_norm with a share", y);
    }
    const Share device_share(share);
    DispatchSteps(device_share.rank, [&](auto steps) {
      auto* kernel = &AddShareRmsNormKernel<steps()>;
      const TileLaunch launch(rows, width);
      LOCKSTEP_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                               static_cast<int>(launch.row_bytes)));
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
    const Arguments<T> arguments = {residual.as<T>(),
                                    branch.as<T>(),
                                    post_w.as<T>(),
                                    w.as<T>(),
                                    options,
                                    sum.as<T>(),
                                    y.as<T>(),
                                    rstd.as<float>(),
                                    post_rstd.as<float>(),
                                    static_cast<unsigned>(rows),
                                    static_cast<int>(width)};
    DispatchVectors<T>(vectors, [&](auto n) {
      LaunchTeams<n()>(rows, width, [&](auto team, unsigned blocks, int threads) {
        AddRmsNormKernel<T, n(), typename decltype(team)::Type>
            <<<blocks, threads, 0, Handle(stream)>>>(arguments);
        LOCKSTEP_CHECK_LAUNCH();
      });
    });
  });
}

}  // namespace lockstep::kernels::cuda
