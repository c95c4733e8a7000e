#include "tensor/kernels/device/lora_share.cuh"
#include "tensor/kernels/rope_lora.h"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

constexpr int kHeadDim = 128, kPairs = kHeadDim / 2, kMostParts = 3;
constexpr int kBlockRows = 32, kTiles = kBlockRows / kTileRows;
constexpr int kWarps = 8, kBlockHeads = 2 * kWarps;
static_assert(kPairs == kTileColumns);

struct Arguments {
  bf16* x;
  const float* table;  // [T, kPairs, 2]
  Share share[kMostParts];
  int end[kMostParts];  // the head behind each part
  int64_t rows;
  int heads, rotated;
};

// The block's rows of the table, 16 bytes (two angles) at a time. Piece q of row r lies at q ^ (r /
// 2 % 4): so the lanes of a tile, which read two rows each, find different banks.
struct AngleRows {
  static constexpr int kPieces = kPairs / 2;

  __device__ static void Bring(const Arguments& in, int64_t first_row, float4* to) {
#pragma unroll
    for (int p = threadIdx.x; p < kBlockRows * kPieces; p += 32 * kWarps) {
      const int row = p / kPieces, piece = p % kPieces;
      const int64_t from = min(first_row + row, in.rows - 1) * kPieces + piece;
      to[row * kPieces + (piece ^ (row / 2 % 4))] = reinterpret_cast<const float4*>(in.table)[from];
    }
  }
  __device__ static float4 At(const float4* rows, int row, int piece) {
    return rows[row * kPieces + (piece ^ (row / 2 % 4))];
  }
};

// b of a tile's columns, for all its rows.
template <int kSteps>
struct TileWeights {
  ColumnPair pair[kSteps][4];

  __device__ __forceinline__ void Load(const Share& share, int64_t column) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        pair[step][j].Load(share, column + 2 * j, step * 16 + threadIdx.x % 4 * 4);
      }
    }
  }
  __device__ __forceinline__ void Multiply(const uint2 (&h)[kSteps], TileSums& sums) const {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int j = 0; j < 4; ++j) Mma(pair[step][j].part, h[step].x, h[step].y, sums.sum[j]);
    }
  }
};

// Adds a pair's shares, and rotates it by an angle's cosine and sine.
__device__ __forceinline__ void Rotate(float2 angle, float scale, float to_low, float to_high,
                                       bf16& low, bf16& high) {
  const float a = fmaf(scale, to_low, ToFloat(low)), b = fmaf(scale, to_high, ToFloat(high));
  low = FromFloat<bf16>(angle.x * a - angle.y * b);
  high = FromFloat<bf16>(angle.x * b + angle.y * a);
}

// A block takes 32 rows and 16 heads, a warp a head at a time: 8 rows of its lower and its upper 64
// columns, which are rotated with each other in the thread that owns both (lora_share.cuh).
template <int kSteps>
__global__ void __launch_bounds__(32 * kWarps, kSteps == 1 ? 2 : 1)
    RopeLoraKernel(const __grid_constant__ Arguments in) {
  WaitForPredecessors();
  __shared__ float4 angles[kBlockRows * AngleRows::kPieces];
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * kBlockRows;
  const int first_head = blockIdx.y * kBlockHeads;
  if (first_head < in.rotated) AngleRows::Bring(in, first_row, angles);
  __syncthreads();
  const int t = threadIdx.x % 4, g = threadIdx.x % 32 / 4;
  const int64_t row_elements = static_cast<int64_t>(in.heads) * kHeadDim;
#pragma unroll 1
  for (int i = 0; i < kBlockHeads / kWarps; ++i) {
    const int head = first_head + i * kWarps + threadIdx.x / 32;
    if (head >= in.heads) return;
    int p = 0;
    while (head >= in.end[p]) ++p;
    const Share& share = in.share[p];
    const int64_t column = static_cast<int64_t>(head - (p == 0 ? 0 : in.end[p - 1])) * kHeadDim;
    TileWeights<kSteps> low, high;
    low.Load(share, column + 8 * g);
    high.Load(share, column + kPairs + 8 * g);
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const int64_t tile_row = first_row + tile * kTileRows;
      bf16* const at = in.x + static_cast<int64_t>(head) * kHeadDim + 8 * g;
      Vec<bf16, 8> value[2][2];  // of a row: lower and upper columns
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        bf16* const row = at + min(tile_row + 2 * t + r, in.rows - 1) * row_elements;
        value[r][0] = *reinterpret_cast<const Vec<bf16, 8>*>(row);
        value[r][1] = *reinterpret_cast<const Vec<bf16, 8>*>(row + kPairs);
      }
      uint2 h[kSteps];
#pragma unroll
      for (int step = 0; step < kSteps; ++step) h[step] = LoadH(share, tile_row, in.rows, step);
      TileSums to_low, to_high;
      low.Multiply(h, to_low);
      high.Multiply(h, to_high);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
#pragma unroll
        for (int c = 0; c < 8; c += 2) {
          float4 angle = {1, 0, 1, 0};
          if (head < in.rotated) angle = AngleRows::At(angles, tile * 8 + 2 * t + r, 4 * g + c / 2);
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            Rotate(e == 0 ? float2{angle.x, angle.y} : float2{angle.z, angle.w}, share.scale,
                   to_low.at(r, c + e), to_high.at(r, c + e), value[r][0].v[c + e],
                   value[r][1].v[c + e]);
          }
        }
        if (tile_row + 2 * t + r >= in.rows) continue;
        bf16* const row = at + (tile_row + 2 * t + r) * row_elements;
        *reinterpret_cast<Vec<bf16, 8>*>(row) = value[r][0];
        *reinterpret_cast<Vec<bf16, 8>*>(row + kPairs) = value[r][1];
      }
    }
  }
}

}  // namespace

void RopeLora(const Stream& stream, const View& x, const std::vector<HeadsShare>& parts,
              int64_t rotated, const View& table) {
  if (!RopeLoraTakes(x.dtype, x.shape[2], table.shape[1]) || table.dtype != DType::kF32 ||
      reinterpret_cast<uintptr_t>(x.data) % 16 != 0 || parts.size() > kMostParts) {
    Unsupported("rope_lora of these heads, or alignment", x);
  }
  if (x.numel() == 0) return;
  Arguments arguments = {x.as<bf16>(),
                         table.as<float>(),
                         {},
                         {},
                         x.shape[0],
                         static_cast<int>(x.shape[1]),
                         static_cast<int>(rotated)};
  int end = 0, rank = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    arguments.share[i] = Share(parts[i].share);
    rank = std::max(rank, arguments.share[i].rank);
    arguments.end[i] = end += static_cast<int>(parts[i].heads);
  }
  const dim3 blocks(Blocks(x.shape[0], kBlockRows), Blocks(x.shape[1], kBlockHeads));
  DispatchSteps(rank, [&](auto steps) {
    StartKernel(RopeLoraKernel<steps()>, {blocks, 32 * kWarps}, stream, arguments);
  });
}

}  // namespace lockstep::kernels::cuda
