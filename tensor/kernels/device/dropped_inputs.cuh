// h_i = dropout_i(x) A_iᵀ for several adapters in one pass over x [T, C], and the other way
// dx = Σ_i dropout_i(g_i A_i) in one pass over dx. All products are mma.m16n8k16; each takes 16
// ranks (a step) of one adapter, whose mask is laid over x, or over the product's result.
#pragma once

#include "tensor/kernels/device/dropout_bits.cuh"
#include "tensor/kernels/device/launch.cuh"
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
  uint32_t bits[Shape::kSteps];  // the thread's two columns of 8, of rows lane / 4 and + 8
#pragma unroll
  for (int s = 0; s < Shape::kSteps; ++s) {
    const uint32_t at =
        tile + Shape::kBitsAt + s * Shape::kBits + (row + lane / 4) * 16 + half * 8 + lane % 4 * 2;
    bits[s] = LoadHalfWord(at) | LoadHalfWord(at + 8 * 16) << 16;
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
      for (int half = 0; half < 2; ++half) {
        const uint32_t top = AtTop(bits[s], 2 * k + half);
        kept[2 * half] = x[2 * half] & KeptPair<0>(top);
        kept[2 * half + 1] = x[2 * half + 1] & KeptPair<2>(top);
      }
      Mma(kept, a[0], a[1], sums[s][0]);
      Mma(kept, a[2], a[3], sums[s][1]);
    }
  }
}

template <typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, 1)
    DroppedInputsKernel(const __grid_constant__ Arguments in) {
  WaitForPredecessors();
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

// A block has kRows rows and 128 columns, a warp 32 of them, 16 rows at a time. h and the masks are
// brought into shared memory at the start, A into registers. Columns are dealt to four products so
// that a thread owns 8 neighbors of rows lane / 4 and + 8.
template <int kSteps_>
struct SharesShape {
  static constexpr int kSteps = kSteps_, kRows = 128, kColumns = 128, kThreads = 128;
  // Bytes of shared memory. Rows of h are an odd number of 16 bytes apart, so that 8 of them lie in
  // different banks; a row of bits is one piece of 16 bytes.
  static constexpr int kHRow = kSteps * 32 + 16, kBits = kRows * 16;  // of a step
  static constexpr int kBitsAt = kRows * kHRow, kBytes = kBitsAt + kSteps * kBits;
  static_assert(kBytes <= 48 * 1024, "what needs no asking");
};

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

template <typename Shape>
__device__ __forceinline__ void FetchShares(const Arguments& in, uint32_t shared,
                                            int64_t first_row) {
  const int64_t row = first_row + threadIdx.x;  // the thread's
  static_assert(Shape::kThreads == Shape::kRows);
  const bool inside = row < in.rows;
#pragma unroll
  for (int s = 0; s < Shape::kSteps; ++s) {
    const Step& step = in.step[s];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      CopyAsync(shared + threadIdx.x * Shape::kHRow + s * 32 + half * 16,
                step.h + row * step.h_row + half * 8, inside && half * 8 < step.ranks);
    }
    CopyAsync(shared + Shape::kBitsAt + s * Shape::kBits + threadIdx.x * 16,
              step.bits + row * in.bits_row + blockIdx.y * 16, inside);
  }
  CommitCopies();
}

// total += the products where the bits of the thread's 8 neighbors are set: those of 8 bytes at
// `bits`, of row i of its two.
__device__ __forceinline__ void AddKept(const float (&products)[4][4], int i, uint32_t bits,
                                        int bit, float (&total)[8]) {
  uint32_t low, high;
  asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(low), "=r"(high) : "r"(bits) : "memory");
  low = AtTop(low, bit);
  high = AtTop(high, bit);
  total[0] += Kept<0>(low, products[0][2 * i]);
  total[1] += Kept<1>(low, products[0][2 * i + 1]);
  total[2] += Kept<2>(low, products[1][2 * i]);
  total[3] += Kept<3>(low, products[1][2 * i + 1]);
  total[4] += Kept<0>(high, products[2][2 * i]);
  total[5] += Kept<1>(high, products[2][2 * i + 1]);
  total[6] += Kept<2>(high, products[3][2 * i]);
  total[7] += Kept<3>(high, products[3][2 * i + 1]);
}

template <typename Shape>
__global__ void __launch_bounds__(Shape::kThreads)
    DroppedSharesKernel(const __grid_constant__ Arguments in) {
  WaitForPredecessors();
  extern __shared__ __align__(128) unsigned char memory[];
  const uint32_t shared = SharedAddress(memory);
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * Shape::kRows;
  FetchShares<Shape>(in, shared, first_row);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t first = static_cast<int64_t>(blockIdx.y) * Shape::kColumns + warp * 32;
  const int64_t column = first + lane % 4 * 8;
  const int bit = warp % 2 * 4 + lane % 4;
  ShareWeights weights[Shape::kSteps];
#pragma unroll
  for (int s = 0; s < Shape::kSteps; ++s) weights[s].Load(in.step[s], first, in.width);
  WaitForCopies<0>();
  __syncthreads();
  const uint32_t h_at = shared + (lane / 8 % 2 * 8 + lane % 8) * Shape::kHRow + lane / 16 * 16;
  const uint32_t bits_at = shared + Shape::kBitsAt + lane / 4 * 16 + warp / 2 * 8;
  for (int row = 0; row < Shape::kRows && first_row + row < in.rows; row += 16) {
    float total[2][8] = {};
#pragma unroll
    for (int s = 0; s < Shape::kSteps; ++s) {
      uint32_t h[4];
      LoadMatrices(h_at + row * Shape::kHRow + s * 32, h);
      float products[4][4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        MmaFromZero(h, weights[s].part[j][0], weights[s].part[j][1], products[j]);
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        AddKept(products, i, bits_at + s * Shape::kBits + (row + 8 * i) * 16, bit, total[i]);
      }
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int64_t mine = first_row + row + lane / 4 + 8 * i;
      if (mine >= in.rows || column >= in.width) continue;
      bf16* const to = in.x + mine * in.x_row + column;
      float old[8] = {};
      if (in.accumulate) Load(to, old);
#pragma unroll
      for (int c = 0; c < 8; ++c) total[i][c] = fmaf(in.scale, total[i][c], old[c]);
      Store(to, total[i]);
    }
  }
}

}  // namespace lockstep::kernels::device::dropped
