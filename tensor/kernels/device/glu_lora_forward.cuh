// GluLora in one pass: y, and for LoRA behind it the sums of y · b, or dropout(y) · b, over each
// strip's columns.
//
// The columns of b are dealt to the products so that a thread owns 8 neighbors, 16 bytes, of rows
// lane / 4 and lane / 4 + 8, and stores them itself.
#pragma once

#include "tensor/kernels/device/dropout_bits.cuh"
#include "tensor/kernels/device/glu_lora_panel.cuh"
#include "tensor/kernels/device/launch.cuh"

namespace lockstep::kernels::device::panel {

// The thread's words of one array's tile: rows lane / 4 and lane / 4 + 8, 8 columns each.
struct Words {
  uint32_t word[2][4];
  __device__ __forceinline__ void Load(uint32_t address) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint4 x = LoadShared(address + i * 512);
      word[i][0] = x.x, word[i][1] = x.y, word[i][2] = x.z, word[i][3] = x.w;
    }
  }
  // Zero where the mask says so: `bits` are those of the first row's 64 columns, `bit` the place of
  // the thread's 8 among them.
  __device__ __forceinline__ void Drop(uint32_t bits, uint32_t row_bytes, int bit) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      uint32_t low, high;
      asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];"
                   : "=r"(low), "=r"(high)
                   : "r"(bits + i * 8 * row_bytes)
                   : "memory");
      low = AtTop(low, bit);
      high = AtTop(high, bit);
      word[i][0] &= KeptPair<0>(low);
      word[i][1] &= KeptPair<2>(low);
      word[i][2] &= KeptPair<0>(high);
      word[i][3] &= KeptPair<2>(high);
    }
  }
  __device__ __forceinline__ void Put(bf16* to, uint32_t row_bytes, int rows_left) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (8 * i >= rows_left) continue;
      StoreGlobal(reinterpret_cast<char*>(to) + i * 8 * static_cast<uint64_t>(row_bytes),
                  {word[i][0], word[i][1], word[i][2], word[i][3]});
    }
  }
};

// sums += tile · b over the tile's 32 columns.
template <typename Shape>
__device__ __forceinline__ void AddColumns(const Words& tile, uint32_t weights,
                                           const LaneOffsets<Shape>& at,
                                           float (&sums)[2 * Shape::kSteps][4]) {
#pragma unroll
  for (int s = 0; s < 2; ++s) {
    const uint32_t a[4] = {tile.word[0][2 * s], tile.word[1][2 * s], tile.word[0][2 * s + 1],
                           tile.word[1][2 * s + 1]};
#pragma unroll
    for (int step = 0; step < Shape::kSteps; ++step) {
      uint32_t b[4];
      LoadTransposed(weights + at.first[step] + s * Shape::kHalfWeights, b);
      Mma(a, b[0], b[1], sums[2 * step]);
      Mma(a, b[2], b[3], sums[2 * step + 1]);
    }
  }
}

struct ForwardArguments {
  const bf16* x;              // [T, 2F]
  bf16* y;                    // [T, F]
  PanelShare gate, up, next;  // next: b alone
  float* column_sums;         // [strips, T, kRank] of y · next.b
  PanelMask mask;             // kDropped
  int64_t rows, width, panel_rows;
};

// y of two neighboring columns, given the products of shares there.
template <GluActivation kActivation>
__device__ __forceinline__ uint32_t UnitOfPair(const ForwardArguments& in, const float* to_gate,
                                               const float* to_up, uint32_t gate, uint32_t up) {
  float y[2];
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    const float zg = fmaf(in.gate.scale, to_gate[e], e == 0 ? Low(gate) : High(gate));
    const float zu = fmaf(in.up.scale, to_up[e], e == 0 ? Low(up) : High(up));
    float act, slope;
    Activation<kActivation>::Eval(zg, act, slope);
    y[e] = act * zu;
  }
  return RoundPair(y[0], y[1]);
}

// The warp's part of y, the tile's 32 columns.
template <GluActivation kActivation, typename Shape>
__device__ __forceinline__ Words UnitOfTile(const ForwardArguments& in,
                                            const PanelPipe<Shape, 2>& pipe, int tile,
                                            const LaneOffsets<Shape>& at) {
  using Memory = typename PanelPipe<Shape, 2>::Memory;
  const unsigned warp = threadIdx.x / 32;
  const uint32_t b = pipe.Weights() + warp * 2 * Shape::kHalfWeights;
  uint32_t h_gate[Shape::kSteps][4], h_up[Shape::kSteps][4];
  LoadSteps<Shape>(pipe.HSlot(tile), at.first, h_gate);
  LoadSteps<Shape>(pipe.HSlot(tile) + Memory::kH, at.first, h_up);
  const uint32_t own = pipe.Slot(tile) + warp * kTileBytes + at.own;
  Words gate, up;
  gate.Load(own);
  up.Load(own + Memory::kArray);
#pragma unroll
  for (int s = 0; s < 2; ++s) {
    uint32_t b_gate[Shape::kSteps][4], b_up[Shape::kSteps][4];
    LoadSteps<Shape>(b + s * Shape::kHalfWeights, at.second, b_gate);
    LoadSteps<Shape>(b + Memory::kWeights + s * Shape::kHalfWeights, at.second, b_up);
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      float to_gate[4], to_up[4];
      Product<Shape>(h_gate, b_gate, j, to_gate);
      Product<Shape>(h_up, b_up, j, to_up);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        uint32_t& word = gate.word[i][2 * s + j];
        word = UnitOfPair<kActivation>(in, to_gate + 2 * i, to_up + 2 * i, word,
                                       up.word[i][2 * s + j]);
      }
    }
  }
  return gate;
}

template <typename Shape, GluActivation kActivation, bool kDropped>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks)
    PanelForward(const ForwardArguments in) {
  WaitForPredecessors();
  extern __shared__ __align__(128) unsigned char memory[];
  using Pipe = PanelPipe<Shape, 2>;
  using Memory = typename Pipe::Memory;
  const Pipe pipe(memory, in.rows, in.width, in.panel_rows);
  const uint32_t row_bytes = static_cast<uint32_t>(in.width * 2);
  const bf16* const start = pipe.Start(in.x, 2 * in.width);
  const auto fetch = [&](int tile) {
    if (tile < pipe.tiles()) {
      const auto part = pipe.Mine(threadIdx.x);
      pipe.Fetch(tile, 0, start, 2 * row_bytes, part);
      pipe.Fetch(tile, 1, start + in.width, 2 * row_bytes, part);
      pipe.FetchH(tile, 0, in.gate, threadIdx.x);
      pipe.FetchH(tile, 1, in.up, threadIdx.x);
      if constexpr (kDropped) pipe.FetchBits(tile, in.mask, threadIdx.x);
    }
    CommitCopies();
  };
  CopyWeights<Shape, true>(in.gate, pipe.first, in.width, pipe.Weights());
  CopyWeights<Shape, true>(in.up, pipe.first, in.width, pipe.Weights() + Memory::kWeights);
  const RankMajorWeights<Shape, true> next(in.next, pipe.first, in.width);
  for (int tile = 0; tile < Shape::kStages; ++tile) fetch(tile);
  next.Put(memory + Memory::kWeightsAt + 2 * Memory::kWeights);

  const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const LaneOffsets<Shape> at(lane);
  const uint32_t b = pipe.Weights() + warp * 2 * Shape::kHalfWeights;
  const int column = warp * 32 + lane % 4 * 8;
  const int left = column < pipe.columns ? pipe.rows - static_cast<int>(lane / 4) : 0;
  bf16* const to = pipe.Start(in.y, in.width) + lane / 4 * in.width + column;
  float* const column_sums = in.column_sums + blockIdx.x * in.rows * Shape::kRank;
  WaitForCopies<Shape::kStages - 1>();
  __syncthreads();
  for (int tile = 0; tile < pipe.tiles(); ++tile) {
    Words y = UnitOfTile<kActivation>(in, pipe, tile, at);
    y.Put(to + static_cast<int64_t>(tile) * kTileRows * in.width, row_bytes,
          left - tile * kTileRows);
    if constexpr (kDropped) {
      y.Drop(pipe.BitsSlot(tile) + lane / 4 * Memory::kBitsRow + warp / 2 * 8, Memory::kBitsRow,
             static_cast<int>(warp % 2 * 4 + lane % 4));
    }
    float sums[2 * Shape::kSteps][4] = {};
    AddColumns<Shape>(y, b + 2 * Memory::kWeights, at, sums);
    SaveSums<Shape>(pipe.WarpSums(tile, warp), sums);
    WaitForCopies<Shape::kStages - 2>();
    __syncthreads();
    fetch(tile + Shape::kStages);
    pipe.template PutSums<1>(tile, memory, column_sums, threadIdx.x);
  }
}

}  // namespace lockstep::kernels::device::panel
