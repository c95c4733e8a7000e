// One pass over a wide matrix d [T, N] for LoRA's narrow products with it, N being the columns of
// one or several parts, each with factors of its own:
//   sums over rows     dᵀ h, [columns, r]: one partial a panel
//   sums over columns  d b, [T, r]: one partial a strip (unless kNormed)
//
// A block owns a strip of columns and goes down a panel of rows, a tile of 32 at a time, brought
// into shared memory by cp.async. Its warps are 4 along the columns and 2 down the rows, each with
// 16 rows of a tile. All products are mma.m16n8k16. Sums over rows stay in registers all the way
// down. Partials are added in a fixed order afterwards (partial_sums.cuh): bits depend on shapes
// alone.
#pragma once

#include "tensor/kernels/device/tensor_core.cuh"
#include "tensor/kernels/device/vec.cuh"
#include "tensor/kernels/narrow_cut.h"

namespace lockstep::kernels::device::narrow {

// Columns [first, first + columns) of d, from the grid's strip `first_strip` on. Rows of h and b
// start at 16 bytes.
struct Part {
  const bf16 *h, *b;     // [T, rank], [columns, rank]
  int64_t h_row, b_row;  // strides
  int64_t first, columns, first_strip;
  int rank;            // a multiple of 8
  float* column_sums;  // [strips, T, kRank]
  float* row_sums;     // of the first panel; elements at the strides below
};

struct Arguments {
  static constexpr int kMost = 4;
  Part part[kMost];
  int parts;
  const bf16* d;
  int64_t d_row, rows, panel_rows;
  int64_t panel_step, column_step, rank_step;  // of row sums
  // kNormed: d stands for its RMSNorm, w[c] · rstd[t] · d[t, c], or 1 + w[c]
  const float* rstd;
  const bf16* w;
  bool one_plus;
};

template <int kSteps_, bool kNormed_>
struct Shape {
  static constexpr bool kNormed = kNormed_;
  static constexpr int kSteps = kSteps_, kRank = 16 * kSteps;
  static constexpr int kColumnWarps = 4, kRowWarps = 2, kThreads = 32 * kColumnWarps * kRowWarps;
  static constexpr int kColumns = NarrowCut::StripColumns(kSteps);
  static constexpr int kWarpColumns = kColumns / kColumnWarps;
  static constexpr int kTileRows = NarrowCut::kTileRows;
  static_assert(kTileRows == 16 * kRowWarps);
  static constexpr int kStages = kSteps == 1 ? 2 : kSteps == 2 ? 3 : 6;
  // Bytes of shared memory. Rows of h and b are an odd number of 16 bytes apart, so that 8 of them
  // lie in different banks.
  static constexpr int kRowBytes = kColumns * 2, kNarrowBytes = kRank * 2 + 16;
  static constexpr int kTile = kTileRows * kRowBytes, kH = kTileRows * kNarrowBytes;
  static constexpr int kFactors = kNormed ? kTileRows * 4 : 0;
  static constexpr int kWeights = kNormed ? 0 : kColumns * kNarrowBytes;
  static constexpr int kWarpSums = kNormed ? 0 : 16 * kRank * 4;
  static constexpr int kHAt = kStages * kTile, kFactorsAt = kHAt + kStages * kH;
  static constexpr int kWeightsAt = kFactorsAt + kStages * kFactors;
  static constexpr int kSumsAt = kWeightsAt + kWeights;
  static constexpr int kBytes = kSumsAt + kColumnWarps * kRowWarps * kWarpSums;
  static_assert(kBytes <= 99 * 1024, "what every GPU from sm_80 on has");
};

// Where 16-byte piece `piece` of row `row` of a tile lies: 8 rows at one piece lie in different
// banks.
template <typename Shape>
__device__ __forceinline__ uint32_t TilePlace(unsigned row, unsigned piece) {
  return row * Shape::kRowBytes + (piece ^ (row % 8)) * 16;
}

// 4 bytes on their way to shared memory; zero where not `valid`.
__device__ __forceinline__ void CopyWordAsync(uint32_t to, const void* from, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from),
               "r"(valid ? 4 : 0)
               : "memory");
}

// What a block works on.
template <typename Shape>
struct Place {
  const Arguments& in;
  const Part& part;
  uint32_t shared;
  int64_t strip, first, begin;  // of the part; its first column there; the panel's first row
  int columns, rows;

  __device__ static const Part& PartOf(const Arguments& in) {
    int p = in.parts - 1;
    while (blockIdx.x < in.part[p].first_strip) --p;
    return in.part[p];
  }
  __device__ Place(const Arguments& in, const unsigned char* memory)
      : in(in),
        part(PartOf(in)),
        shared(SharedAddress(memory)),
        strip(blockIdx.x - part.first_strip),
        first(strip * Shape::kColumns),
        begin(blockIdx.y * in.panel_rows),
        columns(static_cast<int>(min(part.columns - first, int64_t{Shape::kColumns}))),
        rows(static_cast<int>(min(in.panel_rows, in.rows - begin))) {}

  __device__ int tiles() const { return (rows + Shape::kTileRows - 1) / Shape::kTileRows; }

  // A tile of d, of h and of rstd.
  __device__ __forceinline__ void Fetch(int tile) const {
    if (tile >= tiles()) return;
    constexpr unsigned kPieces = Shape::kColumns / 8;
    constexpr unsigned kPassRows = Shape::kThreads / kPieces;
    const int slot = tile % Shape::kStages;
    const unsigned piece = threadIdx.x % kPieces;
    const int64_t top = begin + static_cast<int64_t>(tile) * Shape::kTileRows;
    const int left = rows - tile * Shape::kTileRows;
    const bf16* const from = in.d + top * in.d_row + part.first + first + piece * 8;
#pragma unroll
    for (unsigned pass = 0; pass < Shape::kTileRows / kPassRows; ++pass) {
      const unsigned row = pass * kPassRows + threadIdx.x / kPieces;
      CopyAsync(shared + slot * Shape::kTile + TilePlace<Shape>(row, piece), from + row * in.d_row,
                static_cast<int>(row) < left && static_cast<int>(piece * 8) < columns);
    }
    constexpr unsigned kNarrowPieces = Shape::kRank / 8;
#pragma unroll
    for (unsigned p = threadIdx.x; p < Shape::kTileRows * kNarrowPieces; p += Shape::kThreads) {
      const unsigned row = p / kNarrowPieces, at = p % kNarrowPieces;
      CopyAsync(shared + Shape::kHAt + slot * Shape::kH + row * Shape::kNarrowBytes + at * 16,
                part.h + (top + row) * part.h_row + at * 8,
                static_cast<int>(row) < left && static_cast<int>(at * 8) < part.rank);
    }
    if (Shape::kNormed && threadIdx.x < Shape::kTileRows) {
      CopyWordAsync(shared + Shape::kFactorsAt + slot * Shape::kFactors + threadIdx.x * 4,
                    in.rstd + top + threadIdx.x, static_cast<int>(threadIdx.x) < left);
    }
  }

  // b of the strip's columns.
  __device__ __forceinline__ void FetchWeights() const {
    constexpr unsigned kNarrowPieces = Shape::kRank / 8;
#pragma unroll
    for (unsigned p = threadIdx.x; p < Shape::kColumns * kNarrowPieces; p += Shape::kThreads) {
      const unsigned column = p / kNarrowPieces, at = p % kNarrowPieces;
      CopyAsync(shared + Shape::kWeightsAt + column * Shape::kNarrowBytes + at * 16,
                part.b + (first + column) * part.b_row + at * 8,
                static_cast<int>(column) < columns && static_cast<int>(at * 8) < part.rank);
    }
  }
};

// Two bf16 in a word times two factors.
__device__ __forceinline__ uint32_t Times(uint32_t pair, float low, float high) {
  const float x = __uint_as_float(pair << 16) * low;
  const float y = __uint_as_float(pair & 0xFFFF0000u) * high;
  uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(y), "f"(x));
  return word;
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

  // row_sums += dᵀ h.
  __device__ __forceinline__ void AddRows(uint32_t shared, int slot) {
    const unsigned lane = threadIdx.x % 32, id = lane / 8, n = lane % 8;
    const uint32_t h_at = shared + Shape::kHAt + slot * Shape::kH +
                          (row + id % 2 * 8 + n) * Shape::kNarrowBytes + id / 2 * 16;
    uint32_t h[Shape::kSteps][4];  // ranks 0 to 7 of rows 0 to 7 and 8 to 15; ranks 8 to 15
#pragma unroll
    for (int step = 0; step < Shape::kSteps; ++step) LoadTransposed(h_at + step * 32, h[step]);
    if constexpr (Shape::kNormed) {
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
#pragma unroll
    for (int m = 0; m < kSixteens; ++m) {
      uint32_t d[4];
      LoadTransposed(tile + TilePlace<Shape>(row + id / 2 * 8 + n, column / 8 + 2 * m + id % 2), d);
#pragma unroll
      for (int step = 0; step < Shape::kSteps; ++step) {
        Mma(d, h[step][0], h[step][1], row_sums[m][2 * step]);
        Mma(d, h[step][2], h[step][3], row_sums[m][2 * step + 1]);
      }
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
      if constexpr (Shape::kNormed) weight = ToFloat(in.w[column]) + (in.one_plus ? 1.0f : 0.0f);
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
  extern __shared__ __align__(128) unsigned char memory[];
  const Place<Shape> place(in, memory);
  Warp<Shape> warp;
  if constexpr (!Shape::kNormed) place.FetchWeights();
#pragma unroll
  for (int tile = 0; tile < Shape::kStages; ++tile) {
    place.Fetch(tile);
    CommitCopies();
  }
  for (int tile = 0; tile < place.tiles(); ++tile) {
    WaitForCopies<Shape::kStages - 1>();
    __syncthreads();
    const int slot = tile % Shape::kStages;
    if constexpr (!Shape::kNormed) warp.SaveColumnSums(place.shared, slot);
    warp.AddRows(place.shared, slot);
    __syncthreads();
    place.Fetch(tile + Shape::kStages);
    CommitCopies();
    if constexpr (!Shape::kNormed) PutColumnSums(place, memory, tile);
  }
  WaitForCopies<0>();
  PutRowSums(place, warp, memory);
}

}  // namespace lockstep::kernels::device::narrow
