// Cross-entropy of rows that the registers of a cluster hold: read once, written once, one power an
// element (sm_90).
#pragma once

#include "tensor/kernels/device/cluster.cuh"
#include "tensor/kernels/device/cross_entropy.cuh"
#include "tensor/kernels/device/messages.cuh"

namespace lockstep::kernels::device::softmax {

// Blocks of kNumThreads, each with up to kPieces · 16 bytes of a row, and the cluster's next rows
// on their way. What a multiprocessor holds is the same for 256 and 512 threads.
template <typename T, int kNumThreads>
struct RowShape {
  static constexpr int kThreads = kNumThreads, kPieces = 8, kStages = 3, kBlocks = 512 / kThreads;
  static constexpr int kElements = kThreads * kPieces * kVec<T>;
  static constexpr int kBytes = kStages * kElements * static_cast<int>(sizeof(T));
};

// What the warps of a cluster tell each other of a row. Places alternate: a warp that tells of a
// row has heard of the row before from all others, which then were done with the place of this one.
template <int kWarps>
struct RowMessages {
  static constexpr int kMost = kMostBlocksOfCluster * kWarps;
  float2 part[2][kMost];
  ByteBarrier barrier[2];

#if __CUDA_ARCH__ >= 900
  __device__ __forceinline__ void Expect(unsigned turn) {
    barrier[turn % 2].Expect(ClusterSize() * kWarps * sizeof(float2));
  }
  // By one thread.
  __device__ __forceinline__ void Init() {
    for (unsigned turn = 0; turn < 2; ++turn) {
      barrier[turn].Init();
      Expect(turn);
    }
  }
  __device__ __forceinline__ void Tell(unsigned turn, const PowerSum& mine) {
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if (lane < ClusterSize()) {
      SendToBlock(&part[turn % 2][ClusterRank() * kWarps + warp], lane, {mine.base, mine.sum},
                  &barrier[turn % 2]);
    }
  }
  // The whole row's.
  __device__ __forceinline__ PowerSum Hear(unsigned turn) {
    constexpr int kEach = kMost / 32;
    barrier[turn % 2].Wait(turn / 2);
    const unsigned lane = threadIdx.x % 32;
    PowerSum parts[kEach];
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const unsigned at = lane + 32 * i;
      const float2 x = at < ClusterSize() * kWarps ? part[turn % 2][at] : float2{-INFINITY, 0};
      parts[i] = {x.x, x.y};
    }
    return WarpTotal(parts);
  }
#endif
};

// A block's share of a row: pieces of 16 bytes, dealt to its threads in turn.
template <typename T, Cap kCap, typename Shape>
struct RowShare {
  static constexpr int N = kVec<T>, kPieces = Shape::kPieces;
  int pieces;
  Packed<T, N> logits[kPieces];
  float powers[kPieces][N];  // beside `base`, with the slopes; of pieces that there are
  float base;

  __device__ __forceinline__ static int PieceOf(int k) {
    return k * Shape::kThreads + static_cast<int>(threadIdx.x);
  }
  __device__ __forceinline__ void Load(const T* from) {
    float nothing[N];
#pragma unroll
    for (int i = 0; i < N; ++i) nothing[i] = -INFINITY;
#pragma unroll
    for (int k = 0; k < kPieces; ++k) {
      logits[k] =
          PieceOf(k) < pieces ? LoadPacked<T, N>(from + PieceOf(k) * N) : Rounded<T>(nothing);
    }
  }
  // The warp's sum.
  __device__ __forceinline__ PowerSum Raise(const Arguments& a) {
    Packed<T, N> largest = logits[0];
#pragma unroll
    for (int k = 1; k < kPieces; ++k) largest = Larger(largest, logits[k]);
    base = BaseOf<kCap>(WarpLargest(LargestOf(largest)), a);
    float sum = 0;
#pragma unroll
    for (int k = 0; k < kPieces; ++k) {
      float v[N];
      Values<kCap>(logits[k], a, v);
      const bool valid = kCap == Cap::kNone || PieceOf(k) < pieces;  // without a cap it adds 0
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const float power = Power<kCap>(v[i], base, a);
        if (valid) sum += power;
        powers[k][i] = power * Slope<kCap>(v[i]);
      }
    }
    sum = WarpSum(sum);
    if (sum == 0) base = -INFINITY;
    return {base, sum};
  }
  __device__ __forceinline__ void Write(const PowerSum& row, const Arguments& a, T* to) const {
    const float factor = Exp2(base - row.base) * (a.grad_scale / row.sum);
#pragma unroll
    for (int k = 0; k < kPieces; ++k) {
      float gradient[N];
#pragma unroll
      for (int i = 0; i < N; ++i) gradient[i] = powers[k][i] * factor;
      if (PieceOf(k) < pieces) StorePacked(to + PieceOf(k) * N, Rounded<T>(gradient));
    }
  }
};

// Clusters stay and take every so many rows; rows come three ahead.
template <typename T, Cap kCap, typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks)
    RowKernel(T* logits, const Arguments a) {
  WaitForPredecessors();
#if __CUDA_ARCH__ >= 900
  extern __shared__ __align__(128) unsigned char memory[];
  __shared__ RowMessages<Shape::kThreads / 32> messages;
  __shared__ ByteBarrier landed[Shape::kStages];
  constexpr int N = kVec<T>;
  const int parts = ClusterSize(), clusters = gridDim.x / parts, first = blockIdx.x / parts;
  const int most = (a.vocab / N + parts - 1) / parts, begin = ClusterRank() * most * N;
  RowShare<T, kCap, Shape> share;
  share.pieces = min(a.vocab / N - static_cast<int>(ClusterRank()) * most, most);
  const uint32_t bytes = share.pieces * 16;
  const auto stage = [&](unsigned turn) {
    return reinterpret_cast<T*>(memory) + turn % Shape::kStages * Shape::kElements;
  };
  const auto fetch = [&](unsigned turn) {  // by one thread
    const int row = first + turn * clusters;
    if (row >= a.rows) return;
    ByteBarrier* const barrier = &landed[turn % Shape::kStages];
    barrier->Expect(bytes);
    CopyBulk(stage(turn), logits + row * a.row_stride + begin, bytes, barrier);
  };
  if (threadIdx.x == 0) {
    messages.Init();
    for (ByteBarrier& barrier : landed) barrier.Init();
    for (unsigned turn = 0; turn < Shape::kStages; ++turn) fetch(turn);
  }
  ClusterArrive();
  ClusterWait();  // what others tell finds its barriers
  int next_target = a.targets[first];
  unsigned turn = 0;
  for (int row = first; row < a.rows; row += clusters, ++turn) {
    const int target = next_target, at = target - begin;
    if (row + clusters < a.rows) next_target = a.targets[row + clusters];
    landed[turn % Shape::kStages].Wait(turn / Shape::kStages);
    share.Load(stage(turn));
    // The thread that stores the target's piece.
    const bool mine = at >= 0 && at < share.pieces * N && at / N % Shape::kThreads == threadIdx.x;
    const float target_logit = mine ? ToFloat(stage(turn)[at]) : 0;
    messages.Tell(turn, share.Raise(a));
    FenceBulkCopies();
    __syncthreads();  // all have read the stage
    if (threadIdx.x == 0) fetch(turn + Shape::kStages);
    const PowerSum total = messages.Hear(turn);
    if (threadIdx.x == 0) messages.Expect(turn + 2);
    T* const to = logits + row * a.row_stride;
    if (a.gradient) share.Write(total, a, to + begin);
    if (!mine) continue;
    a.nll[row] = Nll<kCap>(target_logit, total, a);
    if (a.gradient) WriteTarget<kCap>(target_logit, total, a, to + target);
  }
#endif
}

}  // namespace lockstep::kernels::device::softmax
