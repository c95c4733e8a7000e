// GluLoraBackward in one pass: the gradient of gate and up in place, and partial sums of what LoRA
// needs of it: dz b over each strip's columns, dzᵀ h and yᵀ h over each panel's rows. y itself
// stays in registers.
//
// Elements are computed transposed, a thread with columns lane / 4 and lane / 4 + 8 of 16, and of
// rows 2t, 2t + 1, 2t + 8, 2t + 9 with t = lane % 4: so the results are first operands of the sums
// over rows as they are. They go back through shared memory, where the sums over columns read them.
#pragma once

#include "tensor/kernels/device/dropout_bits.cuh"
#include "tensor/kernels/device/glu_lora_panel.cuh"
#include "tensor/kernels/device/launch.cuh"

namespace lockstep::kernels::device::panel {

struct BackwardArguments {
  bf16* x;         // [T, 2F]: gate and up, then their gradients
  const bf16* dy;  // [T, F]
  PanelShare gate, up, of_dy;
  float* column_sums;  // [strips, T, 2, kRank]: dz_gate b_gate, dz_up b_up
  float* row_sums;     // [panels, 3, F · kRank]: dz_gateᵀ h, dz_upᵀ h, both [F, kRank]; hᵀ y
  PanelMask mask;      // kDropped: of dy's share, and of y in hᵀ y
  int64_t rows, width, panel_rows;
};

// Sums over rows of a warp's 32 columns; rows 2t … of m16n8k16's results are columns.
template <typename Shape>
using RowSums = float[2][2 * Shape::kSteps][4];

// sums[m] += tileᵀ h, the tile's 16 columns from 16m on as a first operand.
template <typename Shape>
__device__ __forceinline__ void AddRows(const uint32_t (&tile)[4], uint32_t h,
                                        const LaneOffsets<Shape>& at, int m, RowSums<Shape>& sums) {
#pragma unroll
  for (int step = 0; step < Shape::kSteps; ++step) {
    uint32_t ranks[4];
    LoadTransposed(h + at.first[step], ranks);
    Mma(tile, ranks[0], ranks[1], sums[m][2 * step]);
    Mma(tile, ranks[2], ranks[3], sums[m][2 * step + 1]);
  }
}

// Where the warp's sums go: [F, kRank] in `to`, or transposed, [kRank, F].
template <typename Shape>
__device__ __forceinline__ void PutRowSums(const RowSums<Shape>& sums, int64_t column,
                                           int64_t width, bool transposed, float* to) {
  const int n = threadIdx.x % 32 / 4, k = threadIdx.x % 4 * 2;
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int q = 0; q < 2 * Shape::kSteps; ++q) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int64_t c = column + 16 * m + n + 8 * (i / 2), rank = 8 * q + k + i % 2;
        to[transposed ? rank * width + c : c * Shape::kRank + rank] = sums[m][q][i];
      }
    }
  }
}

// The unit's backward for two elements, rows 2t and 2t + 1 of a column, given the products of
// shares there: gate and up become their gradients, d becomes y, or dropout(y) without its factor.
// `top`: their bits of the mask (dropout_bits.cuh).
template <GluActivation kActivation, bool kDropped>
__device__ __forceinline__ void BackwardOfPair(const BackwardArguments& in, const float* to_gate,
                                               const float* to_up, float* to_d, uint32_t top,
                                               uint32_t& gate, uint32_t& up, uint32_t& d) {
  if constexpr (kDropped) {
    to_d[0] = Kept<0>(top, to_d[0]);
    to_d[1] = Kept<1>(top, to_d[1]);
  }
  float y[2], dg[2], du[2];
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    const float zg = fmaf(in.gate.scale, to_gate[e], e == 0 ? Low(gate) : High(gate));
    const float zu = fmaf(in.up.scale, to_up[e], e == 0 ? Low(up) : High(up));
    const float dy = fmaf(in.of_dy.scale, to_d[e], e == 0 ? Low(d) : High(d));
    float act, slope;
    Activation<kActivation>::Eval(zg, act, slope);
    y[e] = act * zu;
    dg[e] = dy * zu * slope;
    du[e] = dy * act;
  }
  gate = RoundPair(dg[0], dg[1]);
  up = RoundPair(du[0], du[1]);
  d = RoundPair(y[0], y[1]);
  if constexpr (kDropped) d &= KeptPair<0>(top);
}

// dz b over the columns of two warps, who share it: the even one has gate's, the odd one up's. Left
// for PutSums.
template <typename Pipe, typename Shape>
__device__ __forceinline__ void SumColumns(const Pipe& pipe, int tile, unsigned warp,
                                           const LaneOffsets<Shape>& at) {
  using Memory = typename Pipe::Memory;
  float sums[2 * Shape::kSteps][4] = {};
  const uint32_t b_pair =
      pipe.Weights() + warp % 2 * Memory::kWeights + warp / 2 * 4 * Shape::kHalfWeights;
  const uint32_t pair = pipe.Slot(tile) + warp / 2 * 2 * kTileBytes + warp % 2 * Memory::kArray;
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    uint32_t a[4];
    LoadMatrices(pair + s / 2 * kTileBytes + (at.along ^ (s % 2 * 32)), a);
#pragma unroll
    for (int step = 0; step < Shape::kSteps; ++step) {
      uint32_t columns[4];
      LoadTransposed(b_pair + s * Shape::kHalfWeights + at.first[step], columns);
      Mma(a, columns[0], columns[1], sums[2 * step]);
      Mma(a, columns[2], columns[3], sums[2 * step + 1]);
    }
  }
  SaveSums<Shape>(pipe.WarpSums(tile, warp), sums);
}

// The warp's part of a tile: the gradients of gate and up in their place, and what they add to the
// sums over rows.
template <GluActivation kActivation, bool kDropped, typename Shape>
__device__ __forceinline__ void DifferentiateTile(const BackwardArguments& in,
                                                  const PanelPipe<Shape, 3>& pipe, int tile,
                                                  unsigned thread, const LaneOffsets<Shape>& at,
                                                  RowSums<Shape>& db_gate, RowSums<Shape>& db_up,
                                                  RowSums<Shape>& da) {
  using Memory = typename PanelPipe<Shape, 3>::Memory;
  const unsigned warp = thread / 32;
  const uint32_t b = pipe.Weights() + warp * 2 * Shape::kHalfWeights;
  const uint32_t h = pipe.HSlot(tile);
  uint32_t h_gate[Shape::kSteps][4], h_up[Shape::kSteps][4], h_dy[Shape::kSteps][4];
  LoadSteps<Shape>(h, at.second, h_gate);
  LoadSteps<Shape>(h + Memory::kH, at.second, h_up);
  LoadSteps<Shape>(h + 2 * Memory::kH, at.second, h_dy);
  const uint32_t base = pipe.Slot(tile) + warp * kTileBytes;
#pragma unroll
  for (int m = 0; m < 2; ++m) {
    uint32_t gate[4], up[4], d[4];
    const uint32_t tile_at = base + (at.across ^ (m * 32));
    LoadTransposed(tile_at, gate);
    LoadTransposed(tile_at + Memory::kArray, up);
    LoadTransposed(tile_at + 2 * Memory::kArray, d);
    uint32_t b_gate[Shape::kSteps][4], b_up[Shape::kSteps][4], b_dy[Shape::kSteps][4];
    LoadSteps<Shape>(b + m * Shape::kHalfWeights, at.first, b_gate);
    LoadSteps<Shape>(b + m * Shape::kHalfWeights + Memory::kWeights, at.first, b_up);
    LoadSteps<Shape>(b + m * Shape::kHalfWeights + 2 * Memory::kWeights, at.first, b_dy);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      float to_gate[4], to_up[4], to_d[4];
      Product<Shape>(b_gate, h_gate, n, to_gate);
      Product<Shape>(b_up, h_up, n, to_up);
      Product<Shape>(b_dy, h_dy, n, to_d);
      uint32_t kept = 0;  // of rows 2t + 8n and 2t + 8n + 1: 8 bits for columns 8 apart
      if constexpr (kDropped) {
        const unsigned lane = thread % 32;
        kept = LoadTwoRows(pipe.BitsSlot(tile) + (lane % 4 * 2 + 8 * n) * Memory::kBitsRow +
                               warp / 2 * 8 + lane / 4,
                           Memory::kBitsRow);
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const uint32_t top = kDropped ? AtTop(kept, static_cast<int>(warp % 2 * 4) + 2 * m + i) : 0;
        BackwardOfPair<kActivation, kDropped>(in, to_gate + 2 * i, to_up + 2 * i, to_d + 2 * i, top,
                                              gate[2 * n + i], up[2 * n + i], d[2 * n + i]);
      }
    }
    StoreTransposed(tile_at, gate);
    StoreTransposed(tile_at + Memory::kArray, up);
    AddRows<Shape>(gate, h, at, m, db_gate);
    AddRows<Shape>(up, h + Memory::kH, at, m, db_up);
    AddRows<Shape>(d, h + 2 * Memory::kH, at, m, da);
  }
}

template <typename Shape, GluActivation kActivation, bool kDropped>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks)
    PanelBackward(const BackwardArguments in) {
  WaitForPredecessors();
  extern __shared__ __align__(128) unsigned char memory[];
  using Pipe = PanelPipe<Shape, 3>;
  using Memory = typename Pipe::Memory;
  const Pipe pipe(memory, in.rows, in.width, in.panel_rows);
  const uint32_t row_bytes = static_cast<uint32_t>(in.width * 2);
  const auto fetch = [&](int tile, unsigned thread) {
    if (tile < pipe.tiles()) {
      const auto part = pipe.Mine(thread);
      pipe.Fetch(tile, 0, pipe.Start(in.x, 2 * in.width), 2 * row_bytes, part);
      pipe.Fetch(tile, 1, pipe.Start(in.x + in.width, 2 * in.width), 2 * row_bytes, part);
      pipe.Fetch(tile, 2, pipe.Start(in.dy, in.width), row_bytes, part);
      pipe.FetchH(tile, 0, in.gate, thread);
      pipe.FetchH(tile, 1, in.up, thread);
      pipe.FetchH(tile, 2, in.of_dy, thread);
      if constexpr (kDropped) pipe.FetchBits(tile, in.mask, thread);
    }
    CommitCopies();
  };
  CopyWeights<Shape, false>(in.gate, pipe.first, in.width, pipe.Weights());
  CopyWeights<Shape, false>(in.up, pipe.first, in.width, pipe.Weights() + Memory::kWeights);
  const RankMajorWeights<Shape, false> of_dy(in.of_dy, pipe.first, in.width);
  for (int tile = 0; tile < Shape::kStages; ++tile) fetch(tile, threadIdx.x);
  of_dy.Put(memory + Memory::kWeightsAt + 2 * Memory::kWeights);

  float* const column_sums = in.column_sums + blockIdx.x * in.rows * 2 * Shape::kRank;
  RowSums<Shape> db_gate = {}, db_up = {}, da = {};
  WaitForCopies<Shape::kStages - 1>();
  __syncthreads();
  for (int tile = 0; tile < pipe.tiles(); ++tile) {
    const unsigned lane_thread = ThreadId(tile), warp = lane_thread / 32;
    const LaneOffsets<Shape> at(lane_thread % 32);
    DifferentiateTile<kActivation, kDropped>(in, pipe, tile, lane_thread, at, db_gate, db_up, da);
    asm volatile("bar.sync %0, 64;" ::"r"(1 + warp / 2) : "memory");
    SumColumns(pipe, tile, warp, at);
    WaitForCopies<Shape::kStages - 2>();
    __syncthreads();
    const unsigned thread = ThreadId(tile);
    const auto part = pipe.Mine(thread);
    pipe.PutBack(tile, 0, pipe.Start(in.x, 2 * in.width), 2 * row_bytes, part);
    pipe.PutBack(tile, 1, pipe.Start(in.x + in.width, 2 * in.width), 2 * row_bytes, part);
    fetch(tile + Shape::kStages, ThreadId(tile));
    pipe.template PutSums<2>(tile, memory, column_sums, thread);
  }

  const int64_t column = pipe.first + threadIdx.x / 32 * 32, matrix = in.width * Shape::kRank;
  if (column >= in.width) return;
  float* const to = in.row_sums + blockIdx.y * 3 * matrix;
  PutRowSums<Shape>(db_gate, column, in.width, false, to);
  PutRowSums<Shape>(db_up, column, in.width, false, to + matrix);
  PutRowSums<Shape>(da, column, in.width, true, to + 2 * matrix);
}

}  // namespace lockstep::kernels::device::panel
