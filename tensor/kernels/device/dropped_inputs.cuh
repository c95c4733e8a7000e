// h_i = dropout_i(x) A_iᵀ for several adapters in one pass over x [T, C], and the other way
// dx = Σ_i dropout_i(g_i A_i) in one pass over dx. All products are mma.m16n8k16; each takes 16
// ranks (a step) of one adapter, whose mask is laid over x, or over the product's result.
#pragma once

#include "tensor/kernels/device/dropout_bits.cuh"
#include "tensor/kernels/device/tensor_core.cuh"
#include "tensor/kernels/device/vec.cuh"

namespace lockstep::kernels::device::dropped {

// Up to 16 ranks of an adapter. Rows start at 16 bytes.
struct Step {
  const bf16* a;        // [ranks, C]
  bf16* h;              // [T, ranks]; DroppedShares reads it
  const uint8_t* bits;  // [T, bits_row]
  int64_t a_row, h_row;
  int ranks;  // 8 or 16
};

struct Arguments {
  static constexpr int kMost = 4;
  Step step[kMost];
  bf16* x;  // or dx
  int64_t x_row, bits_row, rows, width;
  float scale;
  bool accumulate;  // dx
};

// A block has kRows rows and goes along all columns, a tile of kColumns at a time, brought into
// shared memory by cp.async. Warps are 4 down the rows and 2 along the columns; the latter's sums
// are added at the end.
template <int kSteps_>
struct InputsShape {
  static constexpr int kSteps = kSteps_, kRows = 64, kColumns = 128, kThreads = 256;
  static constexpr int kStages = kSteps == 1 ? 4 : kSteps <= 3 ? 3 : 2;
  // Bytes of shared memory. A tile's row of bits is one piece of 16 bytes.
  static constexpr int kRowBytes = kColumns * 2, kX = kRows * kRowBytes;
  static constexpr int kA = 16 * kRowBytes, kBits = kRows * 16;  // of a step
  static constexpr int kAAt = kX, kBitsAt = kAAt + kSteps * kA;
  static constexpr int kStage = kBitsAt + kSteps * kBits, kBytes = kStages * kStage;
  static_assert(kBytes <= 99 * 1024, "what every GPU from sm_80 on has");
};

// Where a 16-byte piece of a row lies: 8 rows at one piece lie in different banks.
__device__ __forceinline__ uint32_t PieceAt(unsigned row, unsigned piece) {
  return row * 256 + (piece ^ (row % 8)) * 16;
}

__device__ __forceinline__ uint32_t LoadHalfWord(uint32_t address) {
  uint16_t x;
  asm volatile("ld.shared.u16 %0, [%1];" : "=h"(x) : "r"(address) : "memory");
  return x;
}

template <typename Shape>
__device__ __forceinline__ void FetchTile(const Arguments& in, uint32_t shared, int64_t first_row,
                                          int tile) {
  const int64_t column = static_cast<int64_t>(tile) * Shape::kColumns;
  const uint32_t to = shared + tile % Shape::kStages * Shape::kStage;
  const unsigned row = threadIdx.x / 16, piece = threadIdx.x % 16;
  const bool inside = column + piece * 8 < in.width;
#pragma unroll
  for (unsigned r = row; r < Shape::kRows; r += Shape::kThreads / 16) {
    CopyAsync(to + PieceAt(r, piece), in.x + (first_row + r) * in.x_row + column + piece * 8,
              inside && first_row + r < in.rows);
  }
#pragma unroll
  for (int s = 0; s < Shape::kSteps; ++s) {
    const Step& step = in.step[s];
    CopyAsync(to + Shape::kAAt + s * Shape::kA + PieceAt(row, piece),
              step.a + row * step.a_row + column + piece * 8,
              inside && static_cast<int>(row) < step.ranks);
    if (threadIdx.x < Shape::kRows) {
      const int64_t r = first_row + threadIdx.x;
      CopyAsync(to + Shape::kBitsAt + s * Shape::kBits + threadIdx.x * 16,
                step.bits + r * in.bits_row + tile * 16, r < in.rows);
    }
  }
}

// 16 rows from `row` on and one half of a tile's columns, all of whose bits are 8 bytes a row.
template <int kSteps>
using InputSums = float[kSteps][2][4];

template <typename Shape>
__device__ __forceinline__ void AddTile(uint32_t tile, unsigned row, unsigned half,
                                        InputSums<Shape::kSteps>& sums) {
  const unsigned lane = threadIdx.x % 32, id = lane / 8, n = lane % 8;
  uint32_t bits[Shape::kSteps][2];  // of rows lane / 4 and + 8, the thread's two columns of 8
#pragma unroll
  for (int s = 0; s < Shape::kSteps; ++s) {
    const uint32_t at =
        tile + Shape::kBitsAt + s * Shape::kBits + (row + lane / 4) * 16 + half * 8 + lane % 4 * 2;
    bits[s][0] = LoadHalfWord(at);
    bits[s][1] = LoadHalfWord(at + 8 * 16);
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    uint32_t x[4];
    LoadMatrices(tile + PieceAt(row + id % 2 * 8 + n, half * 8 + 2 * k + id / 2), x);
#pragma unroll
    for (int s = 0; s < Shape::kSteps; ++s) {
      uint32_t a[4], kept[4];
      LoadMatrices(
          tile + Shape::kAAt + s * Shape::kA + PieceAt(id / 2 * 8 + n, half * 8 + 2 * k + id % 2),
          a);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        kept[i] = x[i] & KeptPair<0>(AtTop(bits[s][i % 2], 2 * k + i / 2));
      }
      Mma(kept, a[0], a[1], sums[s][0]);
      Mma(kept, a[2], a[3], sums[s][1]);
    }
  }
}

template <typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, 1)
    DroppedInputsKernel(const __grid_constant__ Arguments in) {
  extern __shared__ __align__(128) unsigned char memory[];
  const uint32_t shared = SharedAddress(memory);
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * Shape::kRows;
  const int tiles = static_cast<int>((in.width + Shape::kColumns - 1) / Shape::kColumns);
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, row = warp / 2 * 16;
  const auto fetch = [&](int tile) {
    if (tile < tiles) FetchTile<Shape>(in, shared, first_row, tile);
    CommitCopies();
  };
  for (int tile = 0; tile < Shape::kStages; ++tile) fetch(tile);
  InputSums<Shape::kSteps> sums = {};
  for (int tile = 0; tile < tiles; ++tile) {
    WaitForCopies<Shape::kStages - 1>();
    __syncthreads();
    AddTile<Shape>(shared + tile % Shape::kStages * Shape::kStage, row, warp % 2, sums);
    __syncthreads();
    fetch(tile + Shape::kStages);
  }
  WaitForCopies<0>();
  __syncthreads();
  float4* const other = reinterpret_cast<float4*>(memory) + warp / 2 * 32 + lane;
#pragma unroll
  for (int q = 0; q < 2 * Shape::kSteps; ++q) {
    const float(&s)[4] = sums[q / 2][q % 2];
    if (warp % 2 == 1) other[q * 128] = {s[0], s[1], s[2], s[3]};
  }
  __syncthreads();
  if (warp % 2 == 1) return;
#pragma unroll
  for (int q = 0; q < 2 * Shape::kSteps; ++q) {
    const Step& step = in.step[q / 2];
    const float4 more = other[q * 128];
    const float(&s)[4] = sums[q / 2][q % 2];
    const int rank = q % 2 * 8 + static_cast<int>(lane % 4) * 2;
    if (rank >= step.ranks) continue;
    const int64_t r = first_row + row + lane / 4;
    const auto put = [&](int64_t to, float x, float y) {
      if (to >= in.rows) return;
      *reinterpret_cast<uint32_t*>(step.h + to * step.h_row + rank) =
          RoundPair(in.scale * x, in.scale * y);
    };
    put(r, s[0] + more.x, s[1] + more.y);
    put(r + 8, s[2] + more.z, s[3] + more.w);
  }
}

// A warp goes down a strip of 32 columns, 16 rows at a time; A stays in registers all the way.
// Columns are dealt to four products so that a thread owns 8 neighbors of rows lane / 4 and + 8.
inline constexpr int kShareWarps = 4, kShareTiles = 8;

// The 32 columns from `column` on of a step's A, as second operands.
struct ShareWeights {
  uint32_t part[4][2];

  __device__ __forceinline__ void Load(const Step& step, int64_t column, int64_t width) {
    const int lane = threadIdx.x % 32, n = lane / 4;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t c = column + n / 2 * 8 + 2 * j + n % 2;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int rank = half * 8 + lane % 4 * 2;
        const auto* from = reinterpret_cast<const uint16_t*>(step.a) + rank * step.a_row + c;
        const bool there = rank < step.ranks && c < width;
        part[j][half] = there ? from[0] | static_cast<uint32_t>(from[step.a_row]) << 16 : 0;
      }
    }
  }
};

// 16 ranks of two rows, as a first operand.
__device__ __forceinline__ void LoadRanks(const Step& step, const int64_t (&rows)[2],
                                          uint32_t (&to)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int rank = i / 2 * 8 + threadIdx.x % 4 * 2;
    const bf16* const from = step.h + rows[i % 2] * step.h_row + rank;
    to[i] = rank < step.ranks ? *reinterpret_cast<const uint32_t*>(from) : 0;
  }
}

template <int kSteps>
__global__ void __launch_bounds__(32 * kShareWarps)
    DroppedSharesKernel(const __grid_constant__ Arguments in) {
  const int lane = threadIdx.x % 32;
  const int64_t first = (static_cast<int64_t>(blockIdx.y) * kShareWarps + threadIdx.x / 32) * 32;
  const int64_t column = first + lane % 4 * 8;
  ShareWeights weights[kSteps];
#pragma unroll
  for (int s = 0; s < kSteps; ++s) weights[s].Load(in.step[s], first, in.width);
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kShareTiles * 16;
  const int64_t end = min(begin + kShareTiles * 16, in.rows);
  const int64_t bits_at = min(first, in.width - 1) / 64 * 8;
  for (int64_t row = begin; row < end; row += 16) {
    const int64_t mine[2] = {row + lane / 4, row + lane / 4 + 8};
    const int64_t rows[2] = {min(mine[0], in.rows - 1), min(mine[1], in.rows - 1)};
    uint32_t h[kSteps][4];
    uint2 bits[kSteps][2];
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      LoadRanks(in.step[s], rows, h[s]);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        bits[s][i] =
            *reinterpret_cast<const uint2*>(in.step[s].bits + rows[i] * in.bits_row + bits_at);
      }
    }
    float total[2][8] = {};
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      float sums[4][4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        MmaFromZero(h[s], weights[s].part[j][0], weights[s].part[j][1], sums[j]);
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int bit = static_cast<int>(column % 64 / 8);
        const uint32_t low = AtTop(bits[s][i].x, bit), high = AtTop(bits[s][i].y, bit);
        total[i][0] += Kept<0>(low, sums[0][2 * i]);
        total[i][1] += Kept<1>(low, sums[0][2 * i + 1]);
        total[i][2] += Kept<2>(low, sums[1][2 * i]);
        total[i][3] += Kept<3>(low, sums[1][2 * i + 1]);
        total[i][4] += Kept<0>(high, sums[2][2 * i]);
        total[i][5] += Kept<1>(high, sums[2][2 * i + 1]);
        total[i][6] += Kept<2>(high, sums[3][2 * i]);
        total[i][7] += Kept<3>(high, sums[3][2 * i + 1]);
      }
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (mine[i] >= in.rows || column >= in.width) continue;
      bf16* const to = in.x + mine[i] * in.x_row + column;
      float old[8] = {};
      if (in.accumulate) Load(to, old);
#pragma unroll
      for (int c = 0; c < 8; ++c) total[i][c] = fmaf(in.scale, total[i][c], old[c]);
      Store(to, total[i]);
    }
  }
}

}  // namespace lockstep::kernels::device::dropped
