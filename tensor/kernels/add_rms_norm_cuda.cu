#include "tensor/kernels/add_rms_norm.h"
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
  WaitForPredecessors();
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

}  // namespace

void AddRmsNorm(const Stream& stream, const View& residual, const View& branch, const View& post_w,
                const View& w, const RmsNormOptions& options, const View& sum, const View& y,
                const View& rstd, const View& post_rstd) {
  const int64_t rows = y.shape[0], width = y.shape[1];
  if (y.numel() == 0) return;
  bool vectors = true;
  for (const View* view : {&residual, &branch, &sum, &y, &w}) {
    vectors = vectors && Vectorizable(*view, width, width);
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
        StartKernel(AddRmsNormKernel<T, n(), typename decltype(team)::Type>, {blocks, threads},
                    stream, arguments);
      });
    });
  });
}

}  // namespace lockstep::kernels::cuda
