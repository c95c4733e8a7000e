// What narrow_panel.cuh's kernel works on, how it is cut into tiles, and how tiles come into shared
// memory.
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

// kDropped: up to 16 ranks of an adapter, and the mask of dropout (dropout_mask.h) that d goes
// through.
struct DroppedStep {
  const bf16* h;
  const uint8_t* bits;
  int64_t h_row;
  int ranks;  // 8 or 16
};

struct Arguments {
  static constexpr int kMost = 4;
  Part part[kMost];
  int parts;
  const bf16* d;
  int64_t d_row, rows, panel_rows;
  int64_t panel_step, column_step, rank_step;  // of row sums
  // kNormed: d stands for its RMSNorm, w[c] · rstd[t] · d[t, c], or 1 + w[c]; kDropped: likewise,
  // unless rstd is null
  const float* rstd;
  const bf16* w;
  bool one_plus;
  // kDropped: instead of the one part's h
  DroppedStep step[kMost];
  int64_t bits_row;
};

enum class Kind { kBoth, kNormed, kDropped };

template <int kSteps_, Kind kKind>
struct Shape {
  static constexpr bool kRowsAlone = kKind != Kind::kBoth, kDropped = kKind == Kind::kDropped;
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
  static constexpr int kFactors = kRowsAlone ? kTileRows * 4 : 0;
  static constexpr int kWeights = kRowsAlone ? 0 : kColumns * kNarrowBytes;
  static constexpr int kWarpSums = kRowsAlone ? 0 : 16 * kRank * 4;
  // Of a step's mask: pieces of 16 bytes in a row; rows 2 apart, 0 to 6, lie in different banks.
  static constexpr int kBitPieces = kColumns / 128;
  static constexpr int kBitsRow = kColumns / 8 + (kBitPieces > 1 ? 16 : 0);
  static constexpr int kStepBits = kTileRows * kBitsRow, kBits = kDropped ? kSteps * kStepBits : 0;
  static constexpr int kHAt = kStages * kTile, kFactorsAt = kHAt + kStages * kH;
  static constexpr int kBitsAt = kFactorsAt + kStages * kFactors;
  static constexpr int kWeightsAt = kBitsAt + kStages * kBits;
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

  // A tile of d, of h, of rstd and of the masks.
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
      const uint32_t to =
          shared + Shape::kHAt + slot * Shape::kH + row * Shape::kNarrowBytes + at * 16;
      if constexpr (Shape::kDropped) {
        const DroppedStep& step = in.step[at / 2];
        CopyAsync(to, step.h + (top + row) * step.h_row + at % 2 * 8,
                  static_cast<int>(row) < left && static_cast<int>(at % 2 * 8) < step.ranks);
      } else {
        CopyAsync(to, part.h + (top + row) * part.h_row + at * 8,
                  static_cast<int>(row) < left && static_cast<int>(at * 8) < part.rank);
      }
    }
    if (Shape::kRowsAlone && in.rstd != nullptr && threadIdx.x < Shape::kTileRows) {
      CopyWordAsync(shared + Shape::kFactorsAt + slot * Shape::kFactors + threadIdx.x * 4,
                    in.rstd + top + threadIdx.x, static_cast<int>(threadIdx.x) < left);
    }
    if constexpr (Shape::kDropped) FetchBits(slot, top, left);
  }

  __device__ __forceinline__ void FetchBits(int slot, int64_t top, int left) const {
    constexpr unsigned kPieces = Shape::kTileRows * Shape::kBitPieces;  // of a step
    static_assert(Shape::kSteps * kPieces <= Shape::kThreads);
    const unsigned step = threadIdx.x / kPieces, row = threadIdx.x % kPieces / Shape::kBitPieces,
                   piece = threadIdx.x % Shape::kBitPieces;
    if (step >= Shape::kSteps) return;
    const int64_t at = first / 8 + piece * 16;
    CopyAsync(shared + Shape::kBitsAt + slot * Shape::kBits + step * Shape::kStepBits +
                  row * Shape::kBitsRow + piece * 16,
              in.step[step].bits + (top + row) * in.bits_row + at,
              static_cast<int>(row) < left && at < in.bits_row);
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

}  // namespace lockstep::kernels::device::narrow
