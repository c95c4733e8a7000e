// What rms_norm_cuda.cu and add_rms_norm_cuda.cu share. A team of threads takes a row and keeps it
// in registers between the sum of squares and the scaling, so that device memory is read once.
#pragma once

#include <algorithm>

#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/device/reduce.cuh"
#include "tensor/kernels/rms_norm.h"

namespace lockstep::kernels::device {

// Who works on a row: kLanes neighbors in a warp, or, where kLanes is 0, the whole block. A thread
// keeps kKept pieces of N neighbors in registers; what of a row lies beyond them is read again.
// Teams in a warp may take kRows rows at the same time.
template <int kLanes_, int kKept_, int kRows_ = 1>
struct Team {
  static constexpr int kLanes = kLanes_, kKept = kKept_, kRows = kRows_;
  static constexpr int kMostThreads = kLanes == 0 ? 512 : 256;
  static constexpr int kMembers = kLanes == 0 ? kMostThreads : kLanes;  // at most
  static constexpr int kTeams = kMostThreads / kMembers;                // of a block
  static constexpr int kBlocks = kLanes == 0  ? 1
                                 : kKept == 2 ? 4
                                              : 2;  // of a multiprocessor, at least

  int member, size;

  __device__ Team() : member(threadIdx.x % kMembers), size(kLanes == 0 ? blockDim.x : kLanes) {}

  // The r-th of the team's rows; may lie behind the last one.
  __device__ unsigned row(int r = 0) const {
    return (blockIdx.x * kRows + r) * kTeams + threadIdx.x / kMembers;
  }

  // The sum over the team, in each of its threads; all threads of the block call it.
  __device__ float Sum(float x) const {
    if constexpr (kLanes == 0) {
      __shared__ float scratch[32];
      return BlockSum(x, scratch);
    } else {
#pragma unroll
      for (int offset = kLanes / 2; offset > 0; offset /= 2) {
        x += __shfl_xor_sync(0xFFFFFFFFu, x, offset);
      }
      return x;
    }
  }
};

// A Team as an argument on the host.
template <int kLanes, int kKept, int kRows = 1>
struct TeamType {
  using Type = Team<kLanes, kKept, kRows>;
};

// Calls launch(team, blocks, threads) for teams that suit rows of `width`, N elements an access.
// Teams of short rows take kRows of them.
template <int N, int kRows = 1, typename Launch>
void LaunchTeams(int64_t rows, int64_t width, const Launch& launch) {
  const auto in_warps = [&](auto team) {
    using Type = typename decltype(team)::Type;
    launch(team, Blocks(rows, Type::kTeams * Type::kRows), Type::kMostThreads);
  };
  if (width <= 8 * 2 * N) {
    in_warps(TeamType<8, 2, kRows>());
  } else if (width <= 16 * 2 * N) {
    in_warps(TeamType<16, 2, kRows>());
  } else if (width <= 32 * 4 * N) {
    in_warps(TeamType<32, 4>());
  } else {
    using Whole = Team<0, 4>;
    const int64_t warps = (width + 32 * Whole::kKept * N - 1) / (32 * Whole::kKept * N);
    launch(TeamType<0, 4>(), static_cast<unsigned>(rows),
           static_cast<int>(std::min<int64_t>(32 * warps, Whole::kMostThreads)));
  }
}

template <typename T, int N>
__device__ __forceinline__ float SquaresOf(const Packed<T, N>& x) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < N; ++i) sum += x[i] * x[i];
  return sum;
}

__device__ __forceinline__ float Rstd(float squares, int width, const RmsNormOptions& options) {
  return rsqrtf(squares / width + static_cast<float>(options.eps));
}

// g · x·rstd for N neighboring elements. kLlama rounds x·rstd to T before the weight, as
// transformers does; the product of two bf16 is then rounded once, by either instruction.
template <typename T, int N>
__device__ __forceinline__ Packed<T, N> Scaled(const Packed<T, N>& x, const Packed<T, N>& w,
                                               float rstd, NormForm form) {
  float v[N], weight[N];
  Widen(x, v);
#pragma unroll
  for (int i = 0; i < N; ++i) v[i] *= rstd;
  if (form == NormForm::kGemma) {
    Widen(w, weight);
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] *= 1.0f + weight[i];
    return Rounded<T>(v);
  }
  Packed<T, N> y = Rounded<T>(v);
  if constexpr (std::is_same_v<T, bf16> && N % 2 == 0) {
#pragma unroll
    for (int i = 0; i < N / 2; ++i) y.pair[i] = MultiplyPairs(y.pair[i], w.pair[i]);
    return y;
  }
  Widen(y, v);
  Widen(w, weight);
#pragma unroll
  for (int i = 0; i < N; ++i) v[i] *= weight[i];
  return Rounded<T>(v);
}

}  // namespace lockstep::kernels::device
