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

// One team a row, or Team::kRows. Reads and writes each element once.
template <typename T, int N, typename Team>
__global__ void __launch_bounds__(Team::kMostThreads, Team::kBlocks)
    RmsNormKernel(const T* x, RowStart x_start, const T* __restrict__ w, RmsNormOptions options,
                  T* y, RowStart y_start, float* rstd_out, unsigned rows, int width) {
  WaitForPredecessors();
  constexpr int kKept = Team::kKept, kRows = Team::kRows;
  const Team team;
  const int first = team.member * N, step = team.size * N, beyond = first + kKept * step;
  const T* from[kRows];
  Packed<T, N> kept[kRows][kKept] = {}, weight[kKept] = {};
  const auto load_weight = [&] {
#pragma unroll
    for (int k = 0; k < kKept; ++k) {
      if (const int c = first + k * step; c < width) weight[k] = LoadPacked<T, N>(w + c);
    }
  };
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    from[r] = x + x_start(min(team.row(r), rows - 1));
#pragma unroll
    for (int k = 0; k < kKept; ++k) {
      if (const int c = first + k * step; c < width) kept[r][k] = LoadPacked<T, N>(from[r] + c);
    }
  }
  if (kRows == 1) load_weight();
  float rstd[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    float squares = 0;
#pragma unroll
    for (int k = 0; k < kKept; ++k) squares += SquaresOf(kept[r][k]);
    for (int c = beyond; c < width; c += step) squares += SquaresOf(LoadPacked<T, N>(from[r] + c));
    rstd[r] = Rstd(team.Sum(squares), width, options);
  }
  if (kRows > 1) load_weight();  // not before: registers
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const unsigned row = team.row(r);
    if (row >= rows) return;
    if (rstd_out != nullptr && team.member == 0) rstd_out[row] = rstd[r];
    T* const to = y + y_start(row);
#pragma unroll
    for (int k = 0; k < kKept; ++k) {
      if (const int c = first + k * step; c < width) {
        StorePacked(to + c, Scaled(kept[r][k], weight[k], rstd[r], options.form));
      }
    }
    for (int c = beyond; c < width; c += step) {
      StorePacked(to + c, Scaled(LoadPacked<T, N>(from[r] + c), LoadPacked<T, N>(w + c), rstd[r],
                                 options.form));
    }
  }
}

// N neighbors of what backward reads, as they are in memory.
template <typename T, int N>
struct BackwardPiece {
  Packed<T, N> dy, x, w, addend;

  // g·dy of element i.
  __device__ float Scaled(int i, float one) const { return dy[i] * (one + w[i]); }
  // The sum of g·dy·x.
  __device__ float Product(float one) const {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < N; ++i) sum += Scaled(i, one) * x[i];
    return sum;
  }
  // addend + rstd·g·dy − slope·x.
  __device__ Packed<T, N> Dx(float one, float rstd, float slope) const {
    float dx[N];
#pragma unroll
    for (int i = 0; i < N; ++i) {
      dx[i] = addend[i] + rstd * Scaled(i, one) - slope * x[i];
    }
    return Rounded<T>(dx);
  }
};

// One team a row: dx = addend + rstd·(g·dy − x̂·mean(g·dy·x̂)).
template <typename T, int N, typename Team>
__global__ void __launch_bounds__(Team::kMostThreads, Team::kBlocks)
    BackwardKernel(const T* dy, RowStart dy_start, const T* x, RowStart x_start,
                   const T* __restrict__ w, const float* __restrict__ rstd, RmsNormOptions options,
                   const T* addend, RowStart addend_start, T* dx, RowStart dx_start, unsigned rows,
                   int width) {
  WaitForPredecessors();
  constexpr int kKept = Team::kKept;
  const Team team;
  const unsigned row = min(team.row(), rows - 1);
  const float r = rstd[row], one = options.form == NormForm::kGemma ? 1.0f : 0.0f;
  const int first = team.member * N, step = team.size * N;
  dy += dy_start(row);
  x += x_start(row);
  dx += dx_start(row);
  if (addend != nullptr) addend += addend_start(row);
  const auto read = [&](int c, BackwardPiece<T, N>& piece) {
    piece.dy = LoadPacked<T, N>(dy + c);
    piece.x = LoadPacked<T, N>(x + c);
    piece.w = LoadPacked<T, N>(w + c);
    if (addend != nullptr) piece.addend = LoadPacked<T, N>(addend + c);
  };
  BackwardPiece<T, N> kept[kKept] = {}, again = {};
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    if (const int c = first + k * step; c < width) read(c, kept[k]);
  }
  float sum = 0;
#pragma unroll
  for (int k = 0; k < kKept; ++k) sum += kept[k].Product(one);
  for (int c = first + kKept * step; c < width; c += step) {
    read(c, again);
    sum += again.Product(one);
  }
  const float slope = team.Sum(sum) / width * r * r * r;
  if (team.row() >= rows) return;
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    if (const int c = first + k * step; c < width) StorePacked(dx + c, kept[k].Dx(one, r, slope));
  }
  for (int c = first + kKept * step; c < width; c += step) {
    read(c, again);
    StorePacked(dx + c, again.Dx(one, r, slope));
  }
}

constexpr int kWeightThreads = 256, kWeightLanes = 16, kWeightTeams = kWeightThreads / kWeightLanes;

// Block (columns, range): partial[range, c] = Σ of dy·x̂ over the range's rows. A team of lanes,
// each with N neighboring columns, takes every kWeightTeams-th row; then teams are added in order.
template <typename T, int N>
__global__ void __launch_bounds__(kWeightThreads)
    WeightPartials(const T* __restrict__ dy, RowStart dy_start, const T* __restrict__ x,
                   RowStart x_start, const float* __restrict__ rstd, int64_t rows, int64_t width,
                   float* __restrict__ partials) {
  WaitForPredecessors();
  constexpr int kColumns = kWeightLanes * N;
  __shared__ float teams[kWeightTeams][kColumns];
  const int lane = threadIdx.x % kWeightLanes, team = threadIdx.x / kWeightLanes;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kColumns, c = first + lane * N;
  const int64_t ranges = gridDim.y, range = blockIdx.y, end = rows * (range + 1) / ranges;
  float sum[N] = {};
  if (c < width) {
#pragma unroll 4
    for (int64_t row = rows * range / ranges + team; row < end; row += kWeightTeams) {
      const Packed<T, N> d = LoadPacked<T, N>(dy + dy_start(row) + c),
                         v = LoadPacked<T, N>(x + x_start(row) + c);
      const float r = rstd[row];
#pragma unroll
      for (int i = 0; i < N; ++i) sum[i] += d[i] * v[i] * r;
    }
  }
#pragma unroll
  for (int i = 0; i < N; ++i) teams[team][lane * N + i] = sum[i];
  __syncthreads();
  const int mine = threadIdx.x;
  if (mine >= kColumns || first + mine >= width) return;
  float total = 0;
  for (int t = 0; t < kWeightTeams; ++t) total += teams[t][mine];
  partials[range * width + first + mine] = total;
}

__global__ void SumPartials(const float* __restrict__ partials, int64_t ranges, int64_t width,
                            bool accumulate, float* __restrict__ dw) {
  WaitForPredecessors();
  const int64_t c = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (c >= width) return;
  float sum = accumulate ? dw[c] : 0.0f;
#pragma unroll 16
  for (int64_t range = 0; range < ranges; ++range) sum += partials[range * width + c];
  dw[c] = sum;
}

// y = g · x·rstd, one block a row; y's bits are RmsNormKernel's.
template <typename T, int N>
__global__ void AgainKernel(const T* __restrict__ x, const T* __restrict__ w,
                            const float* __restrict__ rstd, RmsNormOptions options, T* y,
                            int width) {
  WaitForPredecessors();
  const float r = rstd[blockIdx.x];
  const int64_t start = static_cast<int64_t>(blockIdx.x) * width;
  for (int c = threadIdx.x * N; c < width; c += blockDim.x * N) {
    StorePacked(y + start + c,
                Scaled(LoadPacked<T, N>(x + start + c), LoadPacked<T, N>(w + c), r, options.form));
  }
}

}  // namespace

void RmsNorm(const Stream& stream, const View& x, const View& w, const RmsNormOptions& options,
             const View& y, const View& rstd) {
  const Rows rows(x);
  if (x.numel() == 0) return;
  DispatchType("rms_norm", x, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const bool vectors =
        RowsVectorizable(x) && RowsVectorizable(y) && Vectorizable(w, rows.width, 0);
    DispatchVectors<T>(vectors, [&](auto n) {
      LaunchTeams<n(), 2>(rows.count(), rows.width, [&](auto team, unsigned blocks, int threads) {
        StartKernel(RmsNormKernel<T, n(), typename decltype(team)::Type>, {blocks, threads}, stream,
                    x.as<T>(), RowStart(x), w.as<T>(), options, y.as<T>(), RowStart(y),
                    rstd.as<float>(), static_cast<unsigned>(rows.count()),
                    static_cast<int>(rows.width));
      });
    });
  });
}

void RmsNormAgain(const Stream& stream, const View& x, const View& w, const View& rstd,
                  const RmsNormOptions& options, const View& y) {
  const int64_t rows = x.shape[0], width = x.shape[1];
  if (x.numel() == 0) return;
  DispatchType("rms_norm", x, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const bool vectors = RowsVectorizable(x) && RowsVectorizable(y) && Vectorizable(w, width, 0);
    DispatchVectors<T>(vectors, [&](auto n) {
      const int threads =
          static_cast<int>(std::clamp<int64_t>((width / (2 * n()) + 31) / 32 * 32, 32, 512));
      StartKernel(AgainKernel<T, n()>, {static_cast<unsigned>(rows), threads}, stream, x.as<T>(),
                  w.as<T>(), rstd.as<float>(), options, y.as<T>(), static_cast<int>(width));
    });
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
      const int64_t ranges = RmsNormPartials(rows.count(), rows.width);
      const bool vectors = RowsVectorizable(x) && RowsVectorizable(dy);
      DispatchVectors<T>(vectors, [&](auto n) {
        const dim3 grid(Blocks(rows.width, kWeightLanes * n()), static_cast<unsigned>(ranges));
        StartKernel(WeightPartials<T, n()>, {grid, kWeightThreads}, stream, dy.as<T>(),
                    RowStart(dy), x.as<T>(), RowStart(x), rstd.as<float>(), rows.count(),
                    rows.width, partials.as<float>());
      });
      StartKernel(SumPartials, {Blocks(rows.width, 128), 128}, stream, partials.as<float>(), ranges,
                  rows.width, accumulate, dw.as<float>());
    }
    const bool vectors = RowsVectorizable(x) && RowsVectorizable(dy) && RowsVectorizable(dx) &&
                         RowsVectorizable(added) && Vectorizable(w, rows.width, 0);
    DispatchVectors<T>(vectors, [&](auto n) {
      LaunchTeams<n()>(rows.count(), rows.width, [&](auto team, unsigned blocks, int threads) {
        StartKernel(BackwardKernel<T, n(), typename decltype(team)::Type>, {blocks, threads},
                    stream, dy.as<T>(), RowStart(dy), x.as<T>(), RowStart(x), w.as<T>(),
                    rstd.as<float>(), options, addend.as<T>(), RowStart(added), dx.as<T>(),
                    RowStart(dx), static_cast<unsigned>(rows.count()),
                    static_cast<int>(rows.width));
      });
    });
  });
}

}  // namespace lockstep::kernels::cuda
