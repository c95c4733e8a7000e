// What the kernels of the gated unit with LoRA in one pass (glu_lora_forward.cuh, _backward.cuh)
// have in common.
//
// A block owns a strip of kColumns columns and goes down a panel of rows, 16 at a time; a warp owns
// 32 of the columns. Tiles wait in shared memory, kStages of them, brought by cp.async, whole rows
// of the strip at a time. All of LoRA's products are mma.m16n8k16 on a tile as it passes:
//   shares             h [16, r] bᵀ [r, 32]
//   sums over columns  dz b, [16, r]: over the block's warps in shared memory, one partial a strip
//   sums over rows     dzᵀ h, [32, r]: in registers all the way down, one partial a panel
// Partials are added in a fixed order afterwards (partial_sums.cuh): bits depend on shapes alone.
#pragma once

#include "tensor/kernels/device/activation.cuh"
#include "tensor/kernels/device/tensor_core.cuh"
#include "tensor/kernels/device/vec.cuh"

namespace lockstep::kernels::device::panel {

inline constexpr int kTileRows = 16;
// Of 32 columns; the 64 bytes at the end spread neighboring tiles over the banks.
inline constexpr int kTileBytes = kTileRows * 64 + 64;

// LoRA's h [T, rank] and b for one wide tensor: [F, rank] for gate and up, [rank, F] for the third.
// All rows start at 16 bytes.
struct PanelShare {
  const bf16 *h, *b;
  int64_t h_row, b_row;  // strides
  int rank;              // a multiple of 8; 0: none
  float scale;
};

template <int kWarps_, int kStages_, int kSteps_, int kBlocks_>
struct PanelShape {
  static constexpr int kWarps = kWarps_, kStages = kStages_;
  static constexpr int kSteps = kSteps_;    // of 16 ranks
  static constexpr int kBlocks = kBlocks_;  // of a multiprocessor
  static constexpr int kThreads = kWarps * 32, kColumns = kWarps * 32;
  static constexpr int kRank = 16 * kSteps, kPieces = 2 * kSteps;  // pieces of 8 ranks
  static constexpr int kHalfWeights = 16 * kPieces * 16;           // bytes, for 16 columns
};

// Where a dropout mask lies (dropout_mask.h).
struct PanelMask {
  const uint8_t* bits;
  uint32_t row;  // bytes
};

// Bytes of shared memory: slots of kArrays wide tiles; weights; slots of h; sums of each warp, two
// tiles' worth, so that one barrier a tile is enough; slots of a dropout mask, rows of which lie in
// different banks, 8 neighbors or every other one of 8.
template <typename Shape, int kArrays>
struct PanelMemory {
  static constexpr int kArray = Shape::kWarps * kTileBytes;
  static constexpr int kSlot = kArrays * kArray;
  static constexpr int kWeights = Shape::kColumns * Shape::kPieces * 16;
  static constexpr int kH = kTileRows * Shape::kPieces * 16;
  static constexpr int kHSlot = kArrays * kH;
  static constexpr int kWarpSums = kTileRows * Shape::kRank * 4;
  static constexpr int kSums = Shape::kWarps * kWarpSums;
  static constexpr int kWeightsAt = Shape::kStages * kSlot;
  static constexpr int kHAt = kWeightsAt + 3 * kWeights;
  static constexpr int kSumsAt = kHAt + Shape::kStages * kHSlot;
  static constexpr int kBitsAt = kSumsAt + 2 * kSums;
  static constexpr int kBitsRow = Shape::kColumns / 8 + 16, kBits = kTileRows * kBitsRow;
  static constexpr int kBytes = kBitsAt + Shape::kStages * kBits;
};

// The row of b that holds a column of the strip. Dealt: columns 8a + 2j + i of 32 in row 8j + 2a +
// i, so that four products leave 8 neighbors in a thread.
template <bool kDealt>
__device__ __forceinline__ int WeightRow(int column) {
  if (!kDealt) return column;
  return column / 32 * 32 + column % 8 / 2 * 8 + column % 32 / 8 * 2 + column % 2;
}

// b [F, rank] of the strip's columns. Zeros beyond the rank and beyond the width.
template <typename Shape, bool kDealt>
__device__ __forceinline__ void CopyWeights(const PanelShare& share, int64_t first, int64_t width,
                                            uint32_t to) {
  constexpr int kPieces = Shape::kPieces;
#pragma unroll
  for (int i = 0; i < Shape::kColumns * kPieces / Shape::kThreads; ++i) {
    const int p = threadIdx.x + i * Shape::kThreads, column = p / kPieces, piece = p % kPieces;
    CopyAsync(to + Swizzled<kPieces>(WeightRow<kDealt>(column), piece),
              share.b + (first + column) * share.b_row + piece * 8,
              piece * 8 < share.rank && first + column < width);
  }
}

// The same for b as [rank, F]: first on its way into registers, then into place.
template <typename Shape, bool kDealt>
struct RankMajorWeights {
  static constexpr int kRuns = Shape::kColumns * Shape::kPieces / Shape::kThreads;
  Vec<uint16_t, 8> run[kRuns];  // 8 columns of one rank

  __device__ static int Rank(int i) {
    return (threadIdx.x + i * Shape::kThreads) / (Shape::kColumns / 8);
  }
  __device__ static int Column(int i) {
    return (threadIdx.x + i * Shape::kThreads) % (Shape::kColumns / 8) * 8;
  }
  __device__ RankMajorWeights(const PanelShare& share, int64_t first, int64_t width) {
#pragma unroll
    for (int i = 0; i < kRuns; ++i) {
      run[i] = {};
      if (Rank(i) < share.rank && first + Column(i) < width) {
        run[i] = *reinterpret_cast<const Vec<uint16_t, 8>*>(share.b + Rank(i) * share.b_row +
                                                            first + Column(i));
      }
    }
  }
  __device__ void Put(unsigned char* to) const {
#pragma unroll
    for (int i = 0; i < kRuns; ++i) {
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        const int row = WeightRow<kDealt>(Column(i) + e);
        *reinterpret_cast<uint16_t*>(to + Swizzled<Shape::kPieces>(row, Rank(i) / 8) +
                                     Rank(i) % 8 * 2) = run[i].v[e];
      }
    }
  }
};

// Brings tiles and takes results back: thread by thread whole rows of the strip, 16 bytes at a
// time, in two passes of 8 rows.
template <typename Shape, int kArrays>
struct PanelPipe {
  using Memory = PanelMemory<Shape, kArrays>;
  static constexpr int kRowPieces = Shape::kWarps * 4, kPassRows = 8;
  static constexpr int kHPieces = kTileRows * Shape::kPieces;

  uint32_t shared;
  int64_t first, begin;  // column and row
  int rows, columns;     // of the panel and of the strip

  __device__ PanelPipe(const unsigned char* memory, int64_t num_rows, int64_t width,
                       int64_t panel_rows)
      : shared(SharedAddress(memory)),
        first(static_cast<int64_t>(blockIdx.x) * Shape::kColumns),
        begin(blockIdx.y * panel_rows),
        rows(static_cast<int>(min(panel_rows, num_rows - begin))),
        columns(static_cast<int>(min(width - first, static_cast<int64_t>(Shape::kColumns)))) {}

  __device__ int tiles() const { return (rows + kTileRows - 1) / kTileRows; }
  __device__ uint32_t Weights() const { return shared + Memory::kWeightsAt; }

  // What a thread brings and takes back: 16 bytes of a row in every pass.
  struct Part {
    unsigned row, piece;
    uint32_t place;  // in a tile
    int left;        // rows from its own to the panel's end; 0 beyond the width
    __device__ uint32_t Offset(uint32_t row_bytes) const { return row * row_bytes + piece * 16; }
  };
  __device__ __forceinline__ Part Mine(unsigned thread) const {
    Part part;
    part.row = thread / kRowPieces;
    part.piece = thread % kRowPieces;
    part.place = part.piece / 4 * kTileBytes + Swizzled<4>(part.row, part.piece % 4);
    part.left = static_cast<int>(part.piece * 8) < columns ? rows - static_cast<int>(part.row) : 0;
    return part;
  }

  __device__ uint32_t Slot(int tile) const {
    return shared + tile % Shape::kStages * static_cast<uint32_t>(Memory::kSlot);
  }
  __device__ uint32_t HSlot(int tile) const {
    return shared + Memory::kHAt + tile % Shape::kStages * static_cast<uint32_t>(Memory::kHSlot);
  }
  __device__ uint32_t BitsSlot(int tile) const {
    return shared + Memory::kBitsAt + tile % Shape::kStages * static_cast<uint32_t>(Memory::kBits);
  }
  __device__ uint32_t WarpSums(int tile, unsigned warp) const {
    return shared + Memory::kSumsAt + tile % 2 * Memory::kSums + warp * Memory::kWarpSums;
  }
  // The strip's start in the panel's first row.
  template <typename T>
  __device__ T* Start(T* from, int64_t stride) const {
    return from + begin * stride + first;
  }
  // 16 bytes of the tile at `start`, in a pass.
  __device__ static void* Piece(const bf16* start, int tile, int pass, uint32_t row_bytes,
                                const Part& part) {
    const uintptr_t top = reinterpret_cast<uintptr_t>(start) +
                          static_cast<uint64_t>(tile) * kTileRows * row_bytes +
                          static_cast<uint64_t>(pass * kPassRows) * row_bytes;
    return reinterpret_cast<void*>(top + part.Offset(row_bytes));
  }

  __device__ __forceinline__ void Fetch(int tile, int array, const bf16* start, uint32_t row_bytes,
                                        const Part& part) const {
#pragma unroll
    for (int pass = 0; pass < 2; ++pass) {
      CopyAsync(Slot(tile) + array * Memory::kArray + part.place + pass * kPassRows * 64,
                Piece(start, tile, pass, row_bytes, part),
                tile * kTileRows + pass * kPassRows < part.left);
    }
  }
  // The tile's rows of the h of share `s`.
  __device__ __forceinline__ void FetchH(int tile, int s, const PanelShare& share,
                                         unsigned thread) const {
    if (thread >= kHPieces) return;
    const unsigned r = thread / Shape::kPieces, at = thread % Shape::kPieces;
    const bf16* const top =
        share.h + (begin + static_cast<int64_t>(tile) * kTileRows) * share.h_row;
    CopyAsync(
        HSlot(tile) + s * Memory::kH + Swizzled<Shape::kPieces>(r, at),
        top + r * static_cast<uint32_t>(share.h_row) + at * 8,
        static_cast<int>(at * 8) < share.rank && tile * kTileRows + static_cast<int>(r) < rows);
  }

  // The tile's rows of the mask.
  __device__ __forceinline__ void FetchBits(int tile, const PanelMask& mask,
                                            unsigned thread) const {
    constexpr unsigned kPieces = Shape::kColumns / 128;
    if (thread >= kTileRows * kPieces) return;
    const unsigned r = thread / kPieces, piece = thread % kPieces;
    const unsigned row = static_cast<unsigned>(begin) + tile * kTileRows + r;
    const unsigned at = static_cast<unsigned>(first) / 8 + piece * 16;
    CopyAsync(BitsSlot(tile) + r * Memory::kBitsRow + piece * 16,
              mask.bits + static_cast<uint64_t>(row) * mask.row + at,
              tile * kTileRows + static_cast<int>(r) < rows && at < mask.row);
  }

  // The array of the tile holds results now.
  __device__ __forceinline__ void PutBack(int tile, int array, bf16* start, uint32_t row_bytes,
                                          const Part& part) const {
#pragma unroll
    for (int pass = 0; pass < 2; ++pass) {
      if (tile * kTileRows + pass * kPassRows >= part.left) continue;
      StoreGlobal(
          Piece(start, tile, pass, row_bytes, part),
          LoadShared(Slot(tile) + array * Memory::kArray + part.place + pass * kPassRows * 64));
    }
  }

  // Sums over the block's columns of kMatrices products, into to[row][matrix][rank]. The warps take
  // the matrices in turn.
  template <int kMatrices>
  __device__ __forceinline__ void PutSums(int tile, const unsigned char* memory, float* to,
                                          unsigned thread) const {
    constexpr int kFloats = kTileRows * Shape::kRank;  // of a warp
    const float* sums =
        reinterpret_cast<const float*>(memory + Memory::kSumsAt + tile % 2 * Memory::kSums);
    constexpr int kAll = kMatrices * kFloats;
#pragma unroll
    for (int part = 0; part < (kAll + Shape::kThreads - 1) / Shape::kThreads; ++part) {
      const unsigned p = thread + part * Shape::kThreads;
      if (kAll % Shape::kThreads != 0 && p >= kAll) break;
      float total = 0;
#pragma unroll
      for (int i = 0; i < Shape::kWarps / kMatrices; ++i) {
        total += sums[i * kMatrices * kFloats + p];
      }
      // As the products leave them: [matrix][product][lane][upper row: 2 columns, lower row].
      const unsigned product = p / 128, lane = p % 128 / 4;
      const int r = static_cast<int>(tile * kTileRows + lane / 4 + p % 4 / 2 * 8);
      if (r < rows) {
        to[(begin + r) * (kMatrices * Shape::kRank) + product * 8 + lane % 4 * 2 + p % 2] = total;
      }
    }
  }
};

// What a lane reads where, in bytes: a tile, h or weights (b) as operands of a product.
template <typename Shape>
struct LaneOffsets {
  unsigned own;            // the lane's 16 bytes of a tile
  unsigned along, across;  // matrices of a tile: rows first, columns first
  unsigned first[Shape::kSteps], second[Shape::kSteps];  // the same for h and weights
  __device__ explicit LaneOffsets(unsigned lane) {
    const unsigned id = lane / 8, n = lane % 8;
    own = Swizzled<4>(lane / 4, lane % 4);
    along = Swizzled<4>(id % 2 * 8 + n, id / 2);
    across = Swizzled<4>(id / 2 * 8 + n, id % 2);
#pragma unroll
    for (int step = 0; step < Shape::kSteps; ++step) {
      first[step] = Swizzled<Shape::kPieces>(id % 2 * 8 + n, 2 * step + id / 2);
      second[step] = Swizzled<Shape::kPieces>(id / 2 * 8 + n, 2 * step + id % 2);
    }
  }
};

// Leaves a warp's sums over columns where PutSums looks for them.
template <typename Shape>
__device__ __forceinline__ void SaveSums(uint32_t to, const float (&sums)[2 * Shape::kSteps][4]) {
#pragma unroll
  for (int q = 0; q < 2 * Shape::kSteps; ++q) {
    StoreShared(to + (q * 32 + threadIdx.x % 32) * 16,
                {__float_as_uint(sums[q][0]), __float_as_uint(sums[q][1]),
                 __float_as_uint(sums[q][2]), __float_as_uint(sums[q][3])});
  }
}

// sum = a b, b's columns 8j to 8j + 7.
template <typename Shape>
__device__ __forceinline__ void Product(const uint32_t (&a)[Shape::kSteps][4],
                                        const uint32_t (&b)[Shape::kSteps][4], int j,
                                        float (&sum)[4]) {
#pragma unroll
  for (int step = 0; step < Shape::kSteps; ++step) {
    if (step == 0) {
      MmaFromZero(a[step], b[step][2 * j], b[step][2 * j + 1], sum);
    } else {
      Mma(a[step], b[step][2 * j], b[step][2 * j + 1], sum);
    }
  }
}

template <typename Shape>
__device__ __forceinline__ void LoadSteps(uint32_t from, const unsigned (&at)[Shape::kSteps],
                                          uint32_t (&to)[Shape::kSteps][4]) {
#pragma unroll
  for (int step = 0; step < Shape::kSteps; ++step) LoadMatrices(from + at[step], to[step]);
}

}  // namespace lockstep::kernels::device::panel
