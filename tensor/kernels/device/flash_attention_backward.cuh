// Flash attention's backward pass (Dao, FlashAttention-2, 2023) on tensor cores, without atomics:
// dq by tiles of queries, dk and dv by tiles of keys, and both by one kernel. A block owns a tile
// of rows of one head; rows of the other kind pass by, in ascending order:
//
//            own       passing    sums
//   dq       q, dout   k, v       ds·k              S = own0 passing0ᵀ, dP = own1 passing1ᵀ
//   dk, dv   k, v      q, dout    ds·q, p·dout      ds·passing0, p·passing1
//
// for keys of one query head of the group after the other. A warp has 16 or 32 of the tile's rows
// in registers, with their sums, and takes the passing rows 16 or 32 at a time: p and ds, rounded
// to bf16, are the left operands of the products that it adds up. Of heads of 256 the sums alone
// fill the registers: dk and dv are passes of their own, and own1 stays in shared memory.
#pragma once

#include "tensor/kernels/device/flash_attention_passing.cuh"
#include "tensor/kernels/device/launch.cuh"

namespace lockstep::kernels::device::flash {

// What a warp has in registers, and its products. Of each 16 rows a lane has two, lane / 4 and 8
// further on; of the 16 columns of s and d: lane % 4 · 2, the next, and both 8 further on.
template <typename Shape>
struct BackwardSums {
  static constexpr int kTiles = Shape::kTiles, kSteps = Shape::kSteps, kPitch = Shape::kPitch;
  static constexpr int kGroup = Shape::kGroup;
  static constexpr int kHeld = Shape::kFirst && Shape::kHoldsSecond ? 2 : 1;
  uint32_t own[kHeld][kTiles][kSteps][4];
  float first[kTiles][2 * kSteps][4] = {}, second[kTiles][2 * kSteps][4] = {};
  float s[kTiles][kGroup / 8][4], d[kTiles][kGroup / 8][4];
  // of the lane's rows, where they are queries
  float row_lse[kTiles][2] = {}, row_delta[kTiles][2] = {};

  // own0, own1: this lane's places.
  __device__ __forceinline__ void Hold(uint32_t own0, uint32_t own1) {
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
#pragma unroll
        for (int step = 0; step < kSteps; ++step) {
          LoadMatrices(((i == 0 ? own0 : own1) ^ (32 * step)) + t * 16 * kPitch, own[i][t][step]);
        }
      }
    }
  }

  // lse, delta: of the warp's first row, of which `rows` are there; `stride` between rows.
  __device__ __forceinline__ void HoldStatistics(const float* lse, const float* delta,
                                                 int64_t stride, int rows) {
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = t * 16 + half * 8 + static_cast<int>(threadIdx.x % 32) / 4;
        if (row >= rows) continue;
        row_lse[t][half] = lse[row * stride] * kLog2E;
        row_delta[t][half] = delta[row * stride];
      }
    }
  }

  static __device__ __forceinline__ void Product(const uint32_t (&a)[4], const uint32_t (&b)[4],
                                                 bool from_zero, float (&low)[4],
                                                 float (&high)[4]) {
    if (from_zero) {
      MmaFromZero(a, b[0], b[1], low);
      MmaFromZero(a, b[2], b[3], high);
    } else {
      Mma(a, b[0], b[1], low);
      Mma(a, b[2], b[3], high);
    }
  }

  // s = own0 passing0ᵀ, d = own1 passing1ᵀ; this lane's places.
  __device__ __forceinline__ void Multiply(uint32_t own1, uint32_t passing0, uint32_t passing1) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int n = 0; n < kGroup / 16; ++n) {
        uint32_t b[4];
        LoadMatrices((passing0 ^ (32 * step)) + n * 16 * kPitch, b);
#pragma unroll
        for (int t = 0; t < kTiles; ++t) {
          Product(own[0][t][step], b, step == 0, s[t][2 * n], s[t][2 * n + 1]);
        }
      }
      if constexpr (Shape::kFirst) MultiplySecond(own1, passing1, step);
    }
  }
  __device__ __forceinline__ void MultiplySecond(uint32_t own1, uint32_t passing1, int step) {
    uint32_t loaded[kTiles][4];
    if constexpr (kHeld == 1) {
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        LoadMatrices((own1 ^ (32 * step)) + t * 16 * kPitch, loaded[t]);
      }
    }
#pragma unroll
    for (int n = 0; n < kGroup / 16; ++n) {
      uint32_t b[4];
      LoadMatrices((passing1 ^ (32 * step)) + n * 16 * kPitch, b);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        Product(kHeld == 1 ? loaded[t] : own[kHeld - 1][t][step], b, step == 0, d[t][2 * n],
                d[t][2 * n + 1]);
      }
    }
  }

  // Calls body(t, n, e, lse, delta) for each element s[t][n][e]. `statistics`: lse of the lane's
  // first column, where columns are queries; delta lies kColumns behind.
  template <typename Body>
  __device__ __forceinline__ void ForEach(const float* statistics, const Body& body) {
#pragma unroll
    for (int n = 0; n < kGroup / 8; ++n) {
      float lse[2], delta[2];
      if constexpr (Shape::kRowsAreKeys) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          lse[e] = statistics[n * 8 + e] * kLog2E;
          delta[e] = statistics[Shape::kColumns + n * 8 + e];
        }
      }
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          body(t, n, e, Shape::kRowsAreKeys ? lse[e % 2] : row_lse[t][e / 2],
               Shape::kRowsAreKeys ? delta[e % 2] : row_delta[t][e / 2]);
        }
      }
    }
  }

  // s becomes p, and d becomes ds / scale. `distance`: of the lane's first pair.
  __device__ __forceinline__ void Weigh(const Scores& scores, const float* statistics,
                                        const Sight& sight, Seen seen, int distance) {
    if (scores.capped()) {
      ForEach(statistics, [&](int t, int n, int e, float lse, float delta) {
        const float tanh = Tanh(scores.inner * s[t][n][e]);
        s[t][n][e] = scores.outer * tanh;
        d[t][n][e] = (d[t][n][e] - delta) * (1 - tanh * tanh);
      });
    } else {
      ForEach(statistics,
              [&](int t, int n, int e, float lse, float delta) { d[t][n][e] -= delta; });
    }
    if (seen == Seen::kSome) {
      ForEach(statistics, [&](int t, int n, int e, float lse, float delta) {
        const int along = n * 8 + e % 2 - (t * 16 + e / 2 * 8);
        const int at = Shape::kRowsAreKeys ? distance + along : distance - along;
        if (!sight.Sees(at)) s[t][n][e] = -INFINITY;
      });
    }
    ForEach(statistics, [&](int t, int n, int e, float lse, float delta) {
      s[t][n][e] = Exp2(s[t][n][e] * scores.factor - lse);
      d[t][n][e] *= s[t][n][e];
    });
  }

  // first += ds passing0, second += p passing1; this lane's places.
  __device__ __forceinline__ void Add(uint32_t passing0, uint32_t passing1) {
#pragma unroll
    for (int n = 0; n < kGroup / 16; ++n) {
      uint32_t p[kTiles][4], ds[kTiles][4];
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        RoundSums(s[t][2 * n], s[t][2 * n + 1], p[t]);
        RoundSums(d[t][2 * n], d[t][2 * n + 1], ds[t]);
      }
      if constexpr (Shape::kFirst) AddProduct(ds, passing0 + n * 16 * kPitch, first);
      if constexpr (Shape::kSecond) AddProduct(p, passing1 + n * 16 * kPitch, second);
    }
  }
  static __device__ __forceinline__ void AddProduct(const uint32_t (&a)[kTiles][4],
                                                    uint32_t passing,
                                                    float (&to)[kTiles][2 * kSteps][4]) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      uint32_t b[4];
      LoadTransposed(passing ^ (32 * step), b);
#pragma unroll
      for (int t = 0; t < kTiles; ++t)
        Product(a[t], b, false, to[t][2 * step], to[t][2 * step + 1]);
    }
  }
};

// Fetches the tile's own rows and leaves the first turn on its way.
template <typename Shape>
__device__ __forceinline__ void BeginBackward(const BackwardArguments& in, const Tile& tile,
                                              int head, const Passing<Shape>& passing,
                                              uint32_t shared, int warp_row,
                                              BackwardSums<Shape>& sums) {
  const int64_t row = tile.start + tile.begin;
  const int pieces = static_cast<int>(in.problem.dim / 8);
#pragma unroll
  for (int i = 0; i < (Shape::kFirst ? 2 : 1); ++i) {
    FetchRows<Shape::kDim, Shape::kRows, Shape::kThreads>(shared + (i == 0 ? 0 : Shape::kOwn1At),
                                                          in.own[i].template At<bf16>(row, head),
                                                          in.own[i].row, tile.size, pieces);
  }
  CommitCopies();
  WaitForCopies<0>();
  __syncthreads();
  const uint32_t at = shared + warp_row * Shape::kPitch + LeftPlace<Shape::kDim>();
  sums.Hold(at, at + Shape::kOwn1At);
  if constexpr (!Shape::kRowsAreKeys) {
    const int64_t first = (row + warp_row) * in.problem.heads + head;
    sums.HoldStatistics(in.lse + first, in.delta + first, in.problem.heads, tile.size - warp_row);
  }
  __syncthreads();
  if (passing.Has(passing.First())) passing.Fetch(shared, passing.First());
}

// The products of a turn whose rows have arrived.
template <typename Shape>
__device__ __forceinline__ void TakeTurn(const BackwardArguments& in, const Tile& tile,
                                         const Passing<Shape>& passing, const Turn& turn,
                                         unsigned char* memory, BackwardSums<Shape>& sums) {
  constexpr int kDim = Shape::kDim;
  constexpr int kSign = Shape::kRowsAreKeys ? 1 : -1;  // of a column in a distance
  constexpr int kRowsLast = Shape::kWarpRows - 1, kColumnsLast = Shape::kGroup - 1;
  const int lane = threadIdx.x % 32, warp_row = threadIdx.x / 32 * Shape::kWarpRows;
  if (warp_row >= tile.size) return;
  const uint32_t shared = SharedAddress(memory);
  const uint32_t own1 = shared + Shape::kOwn1At + warp_row * Shape::kPitch + LeftPlace<kDim>();
  const float* const statistics = reinterpret_cast<const float*>(memory + Shape::kStatisticsAt) +
                                  turn.stage * 2 * Shape::kColumns + lane % 4 * 2;
  const Sight sight = passing.SightOf(tile);
#pragma unroll 1
  for (int group = 0; group < Shape::kColumns; group += Shape::kGroup) {
    const int column = turn.column + group;
    // Of the warp's first row and the group's first column; then the range of all.
    const int distance = sight.offset + kSign * (column - (tile.begin + warp_row));
    const int least = distance - (Shape::kRowsAreKeys ? kRowsLast : kColumnsLast);
    const int most = distance + (Shape::kRowsAreKeys ? kColumnsLast : kRowsLast);
    const Seen seen = column < passing.end ? SeenOf(sight, least, most) : Seen::kNone;
    if (seen == Seen::kNone) continue;
    const uint32_t at = shared + turn.stage * Shape::kStage + group * Shape::kPitch;
    const uint32_t right = at + RightPlace<kDim>(), left = at + LeftPlace<kDim>();
    sums.Multiply(own1, right, right + Shape::kPassingBytes);
    sums.Weigh(Scores(in.problem), statistics + group, sight, seen,
               distance + kSign * (lane % 4 * 2 - lane / 4));
    sums.Add(left, left + Shape::kPassingBytes);
  }
}

template <typename Shape>
__device__ __forceinline__ void RunBackward(const BackwardArguments& in, const Tile& tile, int head,
                                            unsigned char* memory) {
  constexpr int kDim = Shape::kDim;
  const uint32_t shared = SharedAddress(memory);
  const int warp_row = threadIdx.x / 32 * Shape::kWarpRows;
  const Passing<Shape> passing(in, tile, head);
  BackwardSums<Shape> sums;
  BeginBackward(in, tile, head, passing, shared, warp_row, sums);
  for (Turn turn = passing.First(); passing.Has(turn);) {
    const Turn next = passing.Behind(turn);
    WaitForCopies<0>();
    __syncthreads();
    if (passing.Has(next)) passing.Fetch(shared, next);
    TakeTurn(in, tile, passing, turn, memory, sums);
    turn = next;
  }
  __syncthreads();
  const int64_t row = tile.start + tile.begin + warp_row;
  const int rows = tile.size - warp_row, pieces = static_cast<int>(in.problem.dim / 8);
  const uint32_t place = shared + warp_row * Shape::kPitch;
  if constexpr (Shape::kFirst) {
    StoreRows<kDim>(sums.first, in.problem.scale, place, in.to[0].template At<bf16>(row, head),
                    in.to[0].row, rows, pieces);
  }
  if constexpr (Shape::kSecond) {
    StoreRows<kDim>(sums.second, 1.0f, place, in.to[1].template At<bf16>(row, head), in.to[1].row,
                    rows, pieces);
  }
}

template <typename Shape>
__global__ void __launch_bounds__(Shape::kThreads) BackwardKernel(const BackwardArguments in) {
  WaitForPredecessors();
  extern __shared__ __align__(1024) unsigned char memory[];
  const Problem& p = in.problem;
  const unsigned heads = Shape::kRowsAreKeys ? p.kv_heads : p.heads, head = blockIdx.x % heads;
  const Tile tile = FindTile<Shape::kRows, /*kLastFirst=*/!Shape::kRowsAreKeys>(
      Shape::kRowsAreKeys ? p.starts_k : p.starts_q, p.documents,
      Shape::kRowsAreKeys ? p.rows_k : p.rows_q, blockIdx.x / heads);
  if (tile.size <= 0) return;
  if (tile.document < p.documents) return RunBackward<Shape>(in, tile, head, memory);
  const int64_t row = tile.start + tile.begin;  // of no document
  const int pieces = static_cast<int>(p.dim / 8);
  if (Shape::kFirst) StoreZeros(tile, in.to[0].At<bf16>(row, head), in.to[0].row, pieces);
  if (Shape::kSecond) StoreZeros(tile, in.to[1].At<bf16>(row, head), in.to[1].row, pieces);
}

}  // namespace lockstep::kernels::device::flash
