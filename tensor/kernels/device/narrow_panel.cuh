// One pass over a wide matrix d [T, N] for LoRA's narrow products with it, N being the columns of
// one or several parts, each with factors of its own:
//   sums over rows     dᵀ h, [columns, r]: one partial a panel
//   sums over columns  d b, [T, r]: one partial a strip (Kind::kBoth)
// For the gradients of a share's factors, or with sums over rows alone for dA of a layer that reads
// a norm or drops from its input.
//
// A block owns a strip of columns and goes down a panel of rows, a tile of 32 at a time, brought
// into shared memory by cp.async. Its warps are 4 along the columns and 2 down the rows, each with
// 16 rows of a tile. All products are mma.m16n8k16. Sums over rows stay in registers all the way
// down. Partials are added in a fixed order afterwards (partial_sums.cuh): bits depend on shapes
// alone.
#pragma once

#include "tensor/kernels/device/dropout_bits.cuh"
#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/device/narrow_tiles.cuh"

namespace lockstep::kernels::device::narrow {

// Two bf16 in a word times two factors.
__device__ __forceinline__ uint32_t Times(uint32_t pair, float low, float high) {
  return RoundPair(Low(pair) * low, High(pair) * high);
}

// A warp's part of the products: 16 rows of the tile and kWarpColumns columns.
template <typename Shape>
struct Warp {
  static constexpr int kSixteens = Shape::kWarpColumns / 16, kEights = 2 * Shape::kSteps;
  unsigned row, column;  // of its part of a tile
  float row_sums[kSixteens][kEights][4] = {};

  __device__ Warp()
      : row(threadIdx.x / 32 / Shape::kColumnWarps * 16),
        column(threadIdx.x / 32 % Shape::kColumnWarps * Shape::kWarpColumns) {}

  // row_sums += dᵀ h; h times rstd first, where d stands for a norm.
  __device__ __forceinline__ void AddRows(uint32_t shared, int slot, bool normed) {
    const unsigned lane = threadIdx.x % 32, id = lane / 8, n = lane % 8;
    const uint32_t h_at = shared + Shape::kHAt + slot * Shape::kH +
                          (row + id % 2 * 8 + n) * Shape::kNarrowBytes + id / 2 * 16;
    uint32_t h[Shape::kSteps][4];  // ranks 0 to 7 of rows 0 to 7 and 8 to 15; ranks 8 to 15
#pragma unroll
    for (int step = 0; step < Shape::kSteps; ++step) LoadTransposed(h_at + step * 32, h[step]);
    if (Shape::kRowsAlone && normed) {
      const uint32_t at =
          shared + Shape::kFactorsAt + slot * Shape::kFactors + (row + lane % 4 * 2) * 4;
      float rstd[4];
      LoadPair(at, rstd[0], rstd[1]);
      LoadPair(at + 32, rstd[2], rstd[3]);
#pragma unroll
      for (int step = 0; step < Shape::kSteps; ++step) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          h[step][i] = Times(h[step][i], rstd[i % 2 * 2], rstd[i % 2 * 2 + 1]);
        }
      }
    }
    const uint32_t tile = shared + slot * Shape::kTile;
    uint32_t bits[Shape::kSteps];
#pragma unroll
    for (int m = 0; m < kSixteens; ++m) {
      if constexpr (Shape::kDropped) {
        if (m % 4 == 0) LoadBits(shared + Shape::kBitsAt + slot * Shape::kBits, 16 * m, bits);
      }
      uint32_t d[4];
      LoadTransposed(tile + TilePlace<Shape>(row + id / 2 * 8 + n, column / 8 + 2 * m + id % 2), d);
#pragma unroll
      for (int step = 0; step < Shape::kSteps; ++step) {
        uint32_t kept[4] = {d[0], d[1], d[2], d[3]};
        if constexpr (Shape::kDropped) {
          const int bit = static_cast<int>(column / 8 % 8) + 2 * m % 8;
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            const uint32_t top = AtTop(bits[step], bit + i);
            kept[i] &= KeptPair<0>(top);
            kept[i + 2] &= KeptPair<2>(top);
          }
        }
        Mma(kept, h[step][0], h[step][1], row_sums[m][2 * step]);
        Mma(kept, h[step][2], h[step][3], row_sums[m][2 * step + 1]);
      }
    }
  }

  // The bits of 64 columns, those of `from` and on among them, that the thread's pairs of d have:
  // of rows 2t, 2t + 1 and of 2t + 8, 2t + 9 the columns at place lane / 4 among 8.
  __device__ __forceinline__ void LoadBits(uint32_t masks, unsigned from,
                                           uint32_t (&bits)[Shape::kSteps]) const {
    const unsigned lane = threadIdx.x % 32;
    const uint32_t at =
        masks + (row + lane % 4 * 2) * Shape::kBitsRow + (column + from) / 64 * 8 + lane / 4;
#pragma unroll
    for (int step = 0; step < Shape::kSteps; ++step) {
      const uint32_t first = at + step * Shape::kStepBits;
      bits[step] = LoadTwoRows(first, Shape::kBitsRow) |
                   LoadTwoRows(first + 8 * Shape::kBitsRow, Shape::kBitsRow) << 16;
    }
  }

  // d b of the warp's columns, where PutColumnSums looks for it.
  __device__ __forceinline__ void SaveColumnSums(uint32_t shared, int slot) const {
    const unsigned lane = threadIdx.x % 32, id = lane / 8, n = lane % 8;
    const uint32_t tile = shared + slot * Shape::kTile;
    const uint32_t b_at =
        shared + Shape::kWeightsAt + (column + id % 2 * 8 + n) * Shape::kNarrowBytes + id / 2 * 16;
    float sums[kEights][4] = {};
#pragma unroll
    for (int k = 0; k < kSixteens; ++k) {
      uint32_t d[4];
      LoadMatrices(tile + TilePlace<Shape>(row + id % 2 * 8 + n, column / 8 + 2 * k + id / 2), d);
#pragma unroll
      for (int step = 0; step < Shape::kSteps; ++step) {
        uint32_t b[4];
        LoadTransposed(b_at + k * 16 * Shape::kNarrowBytes + step * 32, b);
        Mma(d, b[0], b[1], sums[2 * step]);
        Mma(d, b[2], b[3], sums[2 * step + 1]);
      }
    }
    const uint32_t to = shared + Shape::kSumsAt + threadIdx.x / 32 * Shape::kWarpSums;
#pragma unroll
    for (int q = 0; q < kEights; ++q) {
      StoreShared(to + (q * 32 + lane) * 16,
                  {__float_as_uint(sums[q][0]), __float_as_uint(sums[q][1]),
                   __float_as_uint(sums[q][2]), __float_as_uint(sums[q][3])});
    }
  }

  __device__ static void LoadPair(uint32_t at, float& x, float& y) {
    asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(x), "=f"(y) : "r"(at) : "memory");
  }
};

// The tile's sums over the strip's columns, from those of the warps beside each other.
template <typename Shape>
__device__ __forceinline__ void PutColumnSums(const Place<Shape>& place,
                                              const unsigned char* memory, int tile) {
  constexpr int kFloats = 16 * Shape::kRank;  // of a warp
  const float* const sums = reinterpret_cast<const float*>(memory + Shape::kSumsAt);
  float* const to =
      place.part.column_sums + (place.strip * place.in.rows + place.begin) * Shape::kRank;
#pragma unroll
  for (int p = threadIdx.x; p < Shape::kRowWarps * kFloats; p += Shape::kThreads) {
    const int group = p / kFloats, i = p % kFloats;
    float total = 0;
#pragma unroll
    for (int warp = 0; warp < Shape::kColumnWarps; ++warp) {
      total += sums[(group * Shape::kColumnWarps + warp) * kFloats + i];
    }
    // As the products leave them: [product][lane][upper row: 2 ranks, lower row].
    const int lane = i % 128 / 4;
    const int row = tile * Shape::kTileRows + group * 16 + lane / 4 + i % 4 / 2 * 8;
    if (row < place.rows) {
      to[static_cast<int64_t>(row) * Shape::kRank + i / 128 * 8 + lane % 4 * 2 + i % 2] = total;
    }
  }
}

// The panel's sums over rows: the lower warps hand theirs to the upper ones.
template <typename Shape>
__device__ __forceinline__ void PutRowSums(const Place<Shape>& place, const Warp<Shape>& warp,
                                           unsigned char* memory) {
  constexpr int kHalf = Shape::kThreads / Shape::kRowWarps;
  static_assert(Shape::kRowWarps == 2);
  float4* const other = reinterpret_cast<float4*>(memory) + threadIdx.x % kHalf;
  __syncthreads();
  if (warp.row > 0) {
#pragma unroll
    for (int m = 0; m < Warp<Shape>::kSixteens; ++m) {
#pragma unroll
      for (int q = 0; q < Warp<Shape>::kEights; ++q) {
        const float(&s)[4] = warp.row_sums[m][q];
        other[(m * Warp<Shape>::kEights + q) * kHalf] = {s[0], s[1], s[2], s[3]};
      }
    }
  }
  __syncthreads();
  if (warp.row > 0) return;
  const Arguments& in = place.in;
  float* const to = place.part.row_sums + blockIdx.y * in.panel_step;
  const int n = threadIdx.x % 32 / 4, t = threadIdx.x % 4 * 2;
#pragma unroll
  for (int m = 0; m < Warp<Shape>::kSixteens; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int in_strip = static_cast<int>(warp.column) + 16 * m + 8 * half + n;
      if (in_strip >= place.columns) continue;
      const int64_t column = place.first + in_strip;
      float weight = 1;
      if (Shape::kRowsAlone && in.rstd != nullptr) {
        weight = ToFloat(in.w[column]) + (in.one_plus ? 1.0f : 0.0f);
      }
#pragma unroll
      for (int q = 0; q < Warp<Shape>::kEights; ++q) {
        const float4 lower = other[(m * Warp<Shape>::kEights + q) * kHalf];
        const float(&s)[4] = warp.row_sums[m][q];
        const float x = half == 0 ? s[0] + lower.x : s[2] + lower.z;
        const float y = half == 0 ? s[1] + lower.y : s[3] + lower.w;
        float* const at = to + column * in.column_step + (8 * q + t) * in.rank_step;
        at[0] = weight * x;
        at[in.rank_step] = weight * y;
      }
    }
  }
}

template <typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, 2)
    NarrowPanel(const __grid_constant__ Arguments in) {
  WaitForPredecessors();
  extern __shared__ __align__(128) unsigned char memory[];
  const Place<Shape> place(in, memory);
  Warp<Shape> warp;
  if constexpr (!Shape::kRowsAlone) place.FetchWeights();
#pragma unroll
  for (int tile = 0; tile < Shape::kStages; ++tile) {
    place.Fetch(tile);
    CommitCopies();
  }
  for (int tile = 0; tile < place.tiles(); ++tile) {
    WaitForCopies<Shape::kStages - 1>();
    __syncthreads();
    const int slot = tile % Shape::kStages;
    if constexpr (!Shape::kRowsAlone) warp.SaveColumnSums(place.shared, slot);
    warp.AddRows(place.shared, slot, in.rstd != nullptr);
    __syncthreads();
    place.Fetch(tile + Shape::kStages);
    CommitCopies();
    if constexpr (!Shape::kRowsAlone) PutColumnSums(place, memory, tile);
  }
  WaitForCopies<0>();
  PutRowSums(place, warp, memory);
}

}  // namespace lockstep::kernels::device::narrow
