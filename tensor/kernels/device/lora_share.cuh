// A warp's tile of 8 rows and 64 columns, and LoRA's share of it on tensor cores.
//
// The thread with g = lane / 4 and t = lane % 4 owns rows 2t and 2t + 1 and columns 8g to 8g + 7:
// 16 bytes of bf16 a row, and a warp reads 128 neighboring bytes of each row.
//
// The share is computed transposed, [columns, rows] = b [columns, ranks] · hᵀ [ranks, rows], by
// four products m16n8k16 for 16 ranks: product j's row g (and g + 8) is column 8g + 2j (and + 1),
// so that its results lie where the thread's elements do. Within 16 ranks, the ones that a thread
// loads are neighbors, 4t to 4t + 3: b and h agree about that order, and sums do not mind.
#pragma once

#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/device/tensor_core.cuh"
#include "tensor/kernels/lora_share.h"

namespace lockstep::kernels::device {

inline constexpr int kTileRows = 8, kTileColumns = 64;

// A LoraShare as a kernel's argument.
struct Share {
  const bf16 *h, *b;        // h null: no share
  int64_t h_row, b_column;  // strides
  int rank;
  float scale;

  Share() : h(nullptr), b(nullptr), h_row(0), b_column(0), rank(0), scale(0) {}
  explicit Share(const LoraShare& share) : Share() {
    if (share.empty()) return;
    rank = static_cast<int>(share.h.shape[1]);
    for (const View* view : {&share.h, &share.b}) {
      const bool aligned = reinterpret_cast<uintptr_t>(view->data) % 8 == 0 &&
                           view->stride[0] % 4 == 0 && view->stride[1] == 1;
      if (view->dtype != DType::kBF16 || !LoraShareFits(rank) || !aligned) {
        Unsupported("lora_share of this rank or alignment", *view);
      }
    }
    h = share.h.as<bf16>();
    b = share.b.as<bf16>();
    h_row = share.h.stride[0];
    b_column = share.b.stride[0];
    scale = static_cast<float>(share.scale);
  }
};

// 4 ranks of two neighboring columns of b: the first operand of one product.
struct ColumnPair {
  uint32_t part[4];

  __device__ __forceinline__ void Load(const Share& share, int64_t column, int rank) {
    const bool there = rank < share.rank;
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      uint2 ranks = {};
      if (there) {
        ranks = *reinterpret_cast<const uint2*>(share.b + (column + c) * share.b_column + rank);
      }
      part[c] = ranks.x;
      part[c + 2] = ranks.y;
    }
  }
};

// The thread's 4 of 16 ranks of h, of row g of the tile that begins at `first_row`.
__device__ __forceinline__ uint2 LoadH(const Share& share, int64_t first_row, int64_t num_rows,
                                       int step) {
  const int lane = threadIdx.x % 32, rank = step * 16 + lane % 4 * 4;
  const int64_t row = first_row + lane / 4;
  uint2 h = {};
  if (rank < share.rank && row < num_rows) {
    h = *reinterpret_cast<const uint2*>(share.h + row * share.h_row + rank);
  }
  return h;
}

// A tile's share, of the thread's 2 rows and 8 columns, before scaling.
struct TileSums {
  float sum[4][4] = {};

  // Element (row 2t + i, column 8g + c).
  __device__ __forceinline__ float at(int i, int c) const { return sum[c / 2][c % 2 * 2 + i]; }
};

}  // namespace lockstep::kernels::device
