// The gated unit with LoRA's shares alone, for any even ranks up to 64 and any strides of b;
// backward leaves y where dy was. A warp goes down a strip of 32 columns, 16 rows at a time. LoRA's
// shares are products of the tensor cores, m16n8k16, four side by side; b stays in registers all
// the way. Columns are dealt to the four products so that a thread owns 8 neighbors, 16 bytes, of
// two rows.
#pragma once

#include <algorithm>

#include "tensor/kernels/device/activation.cuh"
#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/device/tensor_core.cuh"
#include "tensor/kernels/glu_lora.h"

namespace lockstep::kernels::device::general {

constexpr int kColumns = 32, kRows = 16;  // of a warp's tile
constexpr int kTiles = 8;                 // tiles that a warp goes through
constexpr int kWarps = 4;                 // of a block, side by side

struct Share {
  const uint16_t *h, *b;
  int64_t h_row, b_column, b_rank;  // strides
  int rank;
  float scale;
  explicit Share(const LoraShare& share)
      : h(share.h.as<uint16_t>()),
        b(share.b.as<uint16_t>()),
        h_row(share.h.stride[0]),
        b_column(share.b.stride[0]),
        b_rank(share.b.stride[1]),
        rank(share.h.rank == 0 ? 0 : static_cast<int>(share.h.shape[1])),
        scale(static_cast<float>(share.scale)) {}
};

// b of the warp's columns as the second operand of 4·kSteps products.
template <int kSteps>
struct Operand {
  uint32_t part[kSteps][4][2];

  __device__ void Load(const Share& share, int64_t first_column) {
    const int lane = threadIdx.x % 32, n = lane / 4;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int64_t column = first_column + n / 2 * 8 + 2 * j + n % 2;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int k = step * 16 + half * 8 + lane % 4 * 2;
          const uint16_t* from = share.b + column * share.b_column + k * share.b_rank;
          part[step][j][half] =
              k < share.rank ? from[0] | static_cast<uint32_t>(from[share.b_rank]) << 16 : 0;
        }
      }
    }
  }
};

// values[i][·] += scale · h[rows[i]] bᵀ, for the thread's 8 columns of two rows.
template <int kSteps>
__device__ __forceinline__ void AddShare(const Share& share, const Operand<kSteps>& b,
                                         const int64_t (&rows)[2], float (&values)[2][8]) {
  if (share.rank == 0) return;
  const int lane = threadIdx.x % 32;
  float sum[4][4] = {};
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    uint32_t a[4];
#pragma unroll
    for (int part = 0; part < 4; ++part) {
      const int k = step * 16 + part / 2 * 8 + lane % 4 * 2;
      const uint16_t* from = share.h + rows[part % 2] * share.h_row + k;
      a[part] = k < share.rank ? *reinterpret_cast<const uint32_t*>(from) : 0;
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      Mma(a, b.part[step][j][0], b.part[step][j][1], sum[j]);
    }
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) values[i / 2][2 * j + i % 2] += share.scale * sum[j][i];
  }
}

// Where a thread works: its first column, and its two rows of the tile that starts at `row`.
struct Place {
  int64_t column, rows[2];
  bool valid[2];
  __device__ Place(int64_t first_column, int64_t row, int64_t num_rows) {
    const int lane = threadIdx.x % 32;
    column = first_column + lane % 4 * 8;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      rows[i] = row + lane / 4 + 8 * i;
      valid[i] = rows[i] < num_rows;
      if (!valid[i]) rows[i] = 0;  // h may be read there; nothing is written
    }
  }
};

// 8 neighbors of each of two rows as they lie in memory, to be on their way while the tile before
// is computed.
struct Raw {
  Packed<bf16, 8> row[2];
  __device__ __forceinline__ void Fetch(const bf16* from, int64_t row_stride, const Place& at) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      row[i] = at.valid[i] ? LoadPacked<bf16, 8>(from + at.rows[i] * row_stride + at.column)
                           : Packed<bf16, 8>{};
    }
  }
  __device__ __forceinline__ void Get(float (&values)[2][8]) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) Widen(row[i], values[i]);
  }
};

template <int kSteps, GluActivation kActivation>
__global__ void __launch_bounds__(kWarps * 32)
    ForwardKernel(const bf16* __restrict__ x, Share gate_share, Share up_share,
                  bf16* __restrict__ y, int64_t num_rows, int64_t width) {
  WaitForPredecessors();
  const int64_t first = (static_cast<int64_t>(blockIdx.y) * kWarps + threadIdx.x / 32) * kColumns;
  if (first >= width) return;
  Operand<kSteps> gate_b, up_b;
  gate_b.Load(gate_share, first);
  up_b.Load(up_share, first);
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kTiles * kRows;
  const int64_t end = min(begin + kTiles * kRows, num_rows);
  Raw next_gate, next_up;
  const auto fetch = [&](int64_t row) {
    const Place at(first, row, num_rows);
    next_gate.Fetch(x, 2 * width, at);
    next_up.Fetch(x + width, 2 * width, at);
  };
  fetch(begin);
  for (int64_t row = begin; row < end; row += kRows) {
    const Place at(first, row, num_rows);
    float gate[2][8], up[2][8];
    next_gate.Get(gate);
    next_up.Get(up);
    if (row + kRows < end) fetch(row + kRows);
    AddShare(gate_share, gate_b, at.rows, gate);
    AddShare(up_share, up_b, at.rows, up);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int c = 0; c < 8; ++c) {
        float act, slope;
        Activation<kActivation>::Eval(gate[i][c], act, slope);
        gate[i][c] = act * up[i][c];
      }
      if (at.valid[i]) Store(y + at.rows[i] * width + at.column, gate[i]);
    }
  }
}

template <int kSteps, GluActivation kActivation>
__global__ void __launch_bounds__(kWarps * 32)
    BackwardKernel(bf16* dy, Share dy_share, bf16* x, Share gate_share, Share up_share,
                   int64_t num_rows, int64_t width) {
  WaitForPredecessors();
  const int64_t first = (static_cast<int64_t>(blockIdx.y) * kWarps + threadIdx.x / 32) * kColumns;
  if (first >= width) return;
  Operand<kSteps> gate_b, up_b, dy_b;
  gate_b.Load(gate_share, first);
  up_b.Load(up_share, first);
  dy_b.Load(dy_share, first);
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kTiles * kRows;
  const int64_t end = min(begin + kTiles * kRows, num_rows);
  Raw next_gate, next_up, next_d;
  const auto fetch = [&](int64_t row) {
    const Place at(first, row, num_rows);
    next_gate.Fetch(x, 2 * width, at);
    next_up.Fetch(x + width, 2 * width, at);
    next_d.Fetch(dy, width, at);
  };
  fetch(begin);
  for (int64_t row = begin; row < end; row += kRows) {
    const Place at(first, row, num_rows);
    float gate[2][8], up[2][8], d[2][8];
    next_gate.Get(gate);
    next_up.Get(up);
    next_d.Get(d);
    if (row + kRows < end) fetch(row + kRows);
    AddShare(gate_share, gate_b, at.rows, gate);
    AddShare(up_share, up_b, at.rows, up);
    AddShare(dy_share, dy_b, at.rows, d);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float y[8];
#pragma unroll
      for (int c = 0; c < 8; ++c) {
        float act, slope;
        Activation<kActivation>::Eval(gate[i][c], act, slope);
        y[c] = act * up[i][c];
        gate[i][c] = d[i][c] * up[i][c] * slope;
        up[i][c] = d[i][c] * act;
      }
      if (!at.valid[i]) continue;
      Store(x + at.rows[i] * 2 * width + at.column, gate[i]);
      Store(x + at.rows[i] * 2 * width + width + at.column, up[i]);
      Store(dy + at.rows[i] * width + at.column, y);
    }
  }
}

// Calls body with the number of steps of 16 ranks and the activation as compile-time values.
template <typename Body>
void Dispatch(int64_t rank, GluActivation activation, const Body& body) {
  DispatchSteps(rank, [&](auto steps) {
    DispatchActivation(activation, [&](auto act) { body(steps, act); });
  });
}

inline int64_t RankOf(const LoraShare& share) {
  if (share.h.rank == 0) return 0;
  const bool fits = share.h.shape[1] % 2 == 0 && share.h.shape[1] <= 64 &&
                    share.h.stride[0] % 2 == 0 &&
                    reinterpret_cast<uintptr_t>(share.h.data) % 4 == 0 && share.h.stride[1] == 1;
  if (!fits) Unsupported("glu_lora of this rank", share.h);
  return share.h.shape[1];
}

inline void CheckWide(const View& x, int64_t width) {
  if (x.dtype != DType::kBF16 || width % kColumns != 0 || !Vectorizable(x, width, width)) {
    Unsupported("glu_lora", x);
  }
}

inline dim3 Grid(int64_t rows, int64_t width) {
  return dim3(Blocks(rows, kTiles * kRows), Blocks(width, kWarps * kColumns));
}

inline void Forward(const Stream& stream, const View& x, const LoraShare& gate, const LoraShare& up,
                    GluActivation activation, const View& y) {
  const int64_t rows = y.shape[0], width = y.shape[1];
  if (y.numel() == 0) return;
  CheckWide(x, width);
  Dispatch(std::max(RankOf(gate), RankOf(up)), activation, [&](auto steps, auto act) {
    StartKernel(ForwardKernel<steps(), act()>, {Grid(rows, width), kWarps * 32}, stream,
                x.as<bf16>(), Share(gate), Share(up), y.as<bf16>(), rows, width);
  });
}

inline void Backward(const Stream& stream, const View& dy, const LoraShare& of_dy, const View& x,
                     const LoraShare& gate, const LoraShare& up, GluActivation activation) {
  const int64_t rows = dy.shape[0], width = dy.shape[1];
  if (dy.numel() == 0) return;
  CheckWide(x, width);
  const int64_t rank = std::max({RankOf(gate), RankOf(up), RankOf(of_dy)});
  Dispatch(rank, activation, [&](auto steps, auto act) {
    StartKernel(BackwardKernel<steps(), act()>, {Grid(rows, width), kWarps * 32}, stream,
                dy.as<bf16>(), Share(of_dy), x.as<bf16>(), Share(gate), Share(up), rows, width);
  });
}

}  // namespace lockstep::kernels::device::general
