// Flash attention's forward pass (Dao, FlashAttention-2, 2023) on tensor cores.
//
// A block owns a tile of a document's queries, for one head, and a warp 16 or 32 rows of it. Keys
// and values pass by in tiles, ascending: the scores of a tile, in registers, become weights
// relative to the largest score so far, by which the warp's sums shrink when that grows; rounded to
// bf16 they are the left operand of the product with the values. Keys and values have one buffer
// each: one is on its way while the product with the other runs.
#pragma once

#include "tensor/kernels/device/flash_attention_tiles.cuh"
#include "tensor/kernels/device/launch.cuh"

namespace lockstep::kernels::device::flash {

template <int kDim_, int kTiles_, int kKeys_, int kWarps_>
struct ForwardShape : RowShape<kDim_> {
  static constexpr int kDim = kDim_, kTiles = kTiles_, kKeys = kKeys_;
  static constexpr int kWarps = kWarps_, kThreads = 32 * kWarps;
  static constexpr int kWarpRows = 16 * kTiles, kRows = kWarps * kWarpRows;
  static constexpr int kKeysAt = kRows * RowShape<kDim>::kPitch;
  static constexpr int kValuesAt = kKeysAt + kKeys * RowShape<kDim>::kPitch;
  static constexpr int kBytes = kValuesAt + kKeys * RowShape<kDim>::kPitch;
  static_assert(kBytes <= 99 * 1024, "what every GPU from sm_80 on has");
};

struct ForwardArguments {
  Problem problem;
  Heads q, k, v, out;
  float* lse;  // may be null
};

// What a warp has in registers. Of each 16 rows a lane has two, lane / 4 and 8 further on.
template <typename Shape>
struct ForwardSums {
  static constexpr int kTiles = Shape::kTiles, kSteps = Shape::kSteps, kPitch = Shape::kPitch;
  float sum[kTiles][2 * kSteps][4] = {};
  float total[kTiles][2] = {};  // the lane's columns alone
  float largest[kTiles][2];
  float s[kTiles][Shape::kKeys / 8][4];

  __device__ ForwardSums() {
#pragma unroll
    for (int t = 0; t < kTiles; ++t) largest[t][0] = largest[t][1] = -INFINITY;
  }

  // s = q kᵀ; q, k: this lane's places.
  __device__ __forceinline__ void Multiply(uint32_t q, uint32_t k) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      uint32_t a[kTiles][4];
#pragma unroll
      for (int t = 0; t < kTiles; ++t) LoadMatrices((q ^ (32 * step)) + t * 16 * kPitch, a[t]);
#pragma unroll
      for (int n = 0; n < Shape::kKeys / 16; ++n) {
        uint32_t b[4];
        LoadMatrices((k ^ (32 * step)) + n * 16 * kPitch, b);
#pragma unroll
        for (int t = 0; t < kTiles; ++t) {
          if (step == 0) {
            MmaFromZero(a[t], b[0], b[1], s[t][2 * n]);
            MmaFromZero(a[t], b[2], b[3], s[t][2 * n + 1]);
          } else {
            Mma(a[t], b[0], b[1], s[t][2 * n]);
            Mma(a[t], b[2], b[3], s[t][2 * n + 1]);
          }
        }
      }
    }
  }

  __device__ __forceinline__ void Cap(const Scores& scores) {
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int n = 0; n < Shape::kKeys / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) s[t][n][e] = scores.outer * Tanh(scores.inner * s[t][n][e]);
      }
    }
  }

  // `distance`: of the lane's first pair.
  __device__ __forceinline__ void Mask(const Sight& sight, int distance) {
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int n = 0; n < Shape::kKeys / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int at = distance + t * 16 + e / 2 * 8 - n * 8 - e % 2;
          if (!sight.Sees(at)) s[t][n][e] = -INFINITY;
        }
      }
    }
  }

  // s becomes the weights relative to the largest score of the row, and sums shrink to that.
  __device__ __forceinline__ void Weigh(float factor) {
    float shrink[kTiles][2];
    bool grows = false;
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float top = largest[t][half];
#pragma unroll
        for (int n = 0; n < Shape::kKeys / 8; ++n) {
          top = fmaxf(top, fmaxf(s[t][n][2 * half], s[t][n][2 * half + 1]));
        }
        top = fmaxf(top, __shfl_xor_sync(0xFFFFFFFFu, top, 1));
        top = fmaxf(top, __shfl_xor_sync(0xFFFFFFFFu, top, 2));
        const float level = top == -INFINITY ? 0 : top * factor;  // no key seen yet
        shrink[t][half] = Exp2(largest[t][half] * factor - level);
        grows = grows || top != largest[t][half];
        largest[t][half] = top;
        float added = 0;
#pragma unroll
        for (int n = 0; n < Shape::kKeys / 8; ++n) {
#pragma unroll
          for (int e = 2 * half; e < 2 * half + 2; ++e) {
            s[t][n][e] = Exp2(s[t][n][e] * factor - level);
            added += s[t][n][e];
          }
        }
        total[t][half] = total[t][half] * shrink[t][half] + added;
      }
    }
    if (!__any_sync(0xFFFFFFFFu, grows)) return;  // all shrink by 1
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int n = 0; n < 2 * kSteps; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[t][n][e] *= shrink[t][e / 2];
      }
    }
  }

  // sum += s v; v: this lane's place.
  __device__ __forceinline__ void AddValues(uint32_t v) {
#pragma unroll
    for (int n = 0; n < Shape::kKeys / 16; ++n) {
      uint32_t a[kTiles][4];
#pragma unroll
      for (int t = 0; t < kTiles; ++t) RoundSums(s[t][2 * n], s[t][2 * n + 1], a[t]);
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        uint32_t b[4];
        LoadTransposed((v ^ (32 * step)) + n * 16 * kPitch, b);
#pragma unroll
        for (int t = 0; t < kTiles; ++t) {
          Mma(a[t], b[0], b[1], sum[t][2 * step]);
          Mma(a[t], b[2], b[3], sum[t][2 * step + 1]);
        }
      }
    }
  }

  // Sums become means. lse: of the warp's first row, null if not wanted; `stride` between rows.
  __device__ __forceinline__ void Finish(float factor, float* lse, int64_t stride, int rows) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float all = total[t][half];
        all += __shfl_xor_sync(0xFFFFFFFFu, all, 1);
        all += __shfl_xor_sync(0xFFFFFFFFu, all, 2);
        const float inverse = 1 / all;
#pragma unroll
        for (int n = 0; n < 2 * kSteps; ++n) {
          sum[t][n][2 * half] *= inverse;
          sum[t][n][2 * half + 1] *= inverse;
        }
        const int row = t * 16 + half * 8 + lane / 4;
        if (lse != nullptr && lane % 4 == 0 && row < rows) {
          lse[row * stride] = (largest[t][half] * factor + __log2f(all)) * static_cast<float>(kLn2);
        }
      }
    }
  }
};

// Rows of no document.
template <typename Shape>
__device__ __forceinline__ void ForwardTail(const ForwardArguments& in, const Tile& tile,
                                            int64_t head) {
  const int64_t row = tile.start + tile.begin;
  StoreZeros(tile, in.out.At<bf16>(row, head), in.out.row, static_cast<int>(in.problem.dim / 8));
  if (in.lse != nullptr && static_cast<int>(threadIdx.x) < tile.size) {
    in.lse[(row + threadIdx.x) * in.problem.heads + head] = 0;
  }
}

template <typename Shape>
__global__ void __launch_bounds__(Shape::kThreads) ForwardKernel(const ForwardArguments in) {
  WaitForPredecessors();
  static_assert(Shape::kRows <= Shape::kThreads);
  extern __shared__ __align__(1024) unsigned char memory[];
  constexpr int kDim = Shape::kDim, kKeys = Shape::kKeys, kThreads = Shape::kThreads;
  const Problem& p = in.problem;
  const unsigned heads = p.heads, head = blockIdx.x % heads, kv = head / (heads / p.kv_heads);
  const Tile tile = FindTile<Shape::kRows, /*kLastFirst=*/true>(p.starts_q, p.documents, p.rows_q,
                                                                blockIdx.x / heads);
  if (tile.size <= 0) return;
  if (tile.document == p.documents) return ForwardTail<Shape>(in, tile, head);

  const int start_k = p.starts_k[tile.document], keys = p.starts_k[tile.document + 1] - start_k;
  const int pieces = static_cast<int>(p.dim / 8);
  const Sight sight(p, tile.rows, keys);
  const Scores scores(p);
  const int end = tile.begin + tile.size + sight.offset;
  const int begin = max(0, tile.begin + sight.offset - (sight.window - 1));
  const uint32_t shared = SharedAddress(memory);
  const auto fetch = [&](int at, const Heads& from, int key) {
    FetchRows<kDim, kKeys, kThreads>(shared + at, from.At<bf16>(start_k + key, kv), from.row,
                                     keys - key, pieces);
    CommitCopies();
  };
  bf16* const q = in.q.At<bf16>(tile.start + tile.begin, head);
  FetchRows<kDim, Shape::kRows, kThreads>(shared, q, in.q.row, tile.size, pieces);
  fetch(Shape::kKeysAt, in.k, begin);

  const int warp_row = threadIdx.x / 32 * Shape::kWarpRows;  // in the tile
  const int lane = threadIdx.x % 32;
  const uint32_t warp_at = shared + warp_row * Shape::kPitch, left = LeftPlace<kDim>();
  const uint32_t right = shared + Shape::kKeysAt + RightPlace<kDim>();
  ForwardSums<Shape> sums;
  for (int key = begin; key < end; key += kKeys) {
    const int distance = tile.begin + warp_row + sight.offset - key;  // of the first pair
    const Seen seen = warp_row < tile.size
                          ? SeenOf(sight, distance - (kKeys - 1), distance + Shape::kWarpRows - 1)
                          : Seen::kNone;
    WaitForCopies<0>();
    __syncthreads();
    fetch(Shape::kValuesAt, in.v, key);
    if (seen != Seen::kNone) sums.Multiply(warp_at + left, right);
    WaitForCopies<0>();
    __syncthreads();
    if (key + kKeys < end) fetch(Shape::kKeysAt, in.k, key + kKeys);
    if (seen == Seen::kNone) continue;
    if (scores.capped()) sums.Cap(scores);
    if (seen == Seen::kSome) sums.Mask(sight, distance + lane / 4 - lane % 4 * 2);
    sums.Weigh(scores.factor);
    sums.AddValues(shared + Shape::kValuesAt + left);
  }
  const int rows = tile.size - warp_row;
  const int64_t row = tile.start + tile.begin + warp_row;
  sums.Finish(scores.factor, in.lse == nullptr ? nullptr : in.lse + row * p.heads + head, p.heads,
              rows);
  StoreRows<kDim>(sums.sum, 1.0f, warp_at, in.out.At<bf16>(row, head), in.out.row, rows, pieces);
}

}  // namespace lockstep::kernels::device::flash
