// What both directions of flash attention (attention_flash.h) share: the tile of a document that a
// block works on, the pairs of rows that see each other, and how rows lie in shared memory.
//
// Tiles begin where their document does, so that bits depend on the document alone. Document d of
// starts s has the tiles from number s[d] / rows + d on: as many as it can need, whatever its
// length, and found by bisection, so that the host lists nothing. Rows behind the last document are
// one more.
#pragma once

#include "tensor/kernels/device/attention.cuh"
#include "tensor/kernels/device/special_functions.cuh"
#include "tensor/kernels/device/tensor_core.cuh"
#include "tensor/kernels/device/vec.cuh"

namespace lockstep::kernels::device::flash {

using attention::Heads;
using attention::Problem;

// Rows in shared memory: 16-byte pieces, swizzled in a pitch of whole 128 bytes.
template <int kDim>
struct RowShape {
  static constexpr int kSteps = kDim / 16;              // of a product over the head
  static constexpr int kPieces = (kDim + 63) / 64 * 8;  // of a row
  static constexpr int kPitch = kPieces * 16;           // bytes
};

// The most tiles that documents of `rows` rows can need.
inline int64_t NumTiles(int64_t rows, int64_t documents, int64_t tile_rows) {
  return rows / tile_rows + documents + 1;
}

// Rows [begin, begin + size) of a document of `rows` rows, of which the first is row `start`. Size
// ≤ 0: there is no such tile.
struct Tile {
  int document, start, rows, begin, size;
};

// kLastFirst: tiles of a document in descending order.
template <int kRows, bool kLastFirst>
__device__ __forceinline__ Tile FindTile(const int32_t* starts, int64_t documents, int64_t rows,
                                         unsigned number) {
  const auto first = [&](int d) { return static_cast<unsigned>(starts[d] / kRows + d); };
  const int size = static_cast<int>(documents);
  Tile tile;
  tile.document = attention::FirstBehind(size, [&](int d) { return first(d + 1) > number; });
  tile.start = starts[tile.document];
  tile.rows =
      (tile.document < size ? starts[tile.document + 1] : static_cast<int>(rows)) - tile.start;
  const int place = static_cast<int>(number - first(tile.document));
  const int last = (tile.rows + kRows - 1) / kRows - 1;
  tile.begin = (kLastFirst ? last - place : place) * kRows;
  tile.size = place <= last ? min(kRows, tile.rows - tile.begin) : 0;
  return tile;
}

// What query i and key j of a document are to each other: i + offset − j, their distance. They see
// each other where it is in [0, window).
struct Sight {
  int offset, window;
  __device__ Sight(const Problem& p, int queries, int keys)
      : offset(keys - queries),
        window(p.window > 0 ? static_cast<int>(min(p.window, int64_t{INT32_MAX})) : INT32_MAX) {}
  __device__ __forceinline__ bool Sees(int distance) const {
    return static_cast<unsigned>(distance) < static_cast<unsigned>(window);
  }
};

// What of the distances [least, most] is in sight.
enum class Seen { kNone, kSome, kAll };
__device__ __forceinline__ Seen SeenOf(const Sight& sight, int least, int most) {
  if (most < 0 || least >= sight.window) return Seen::kNone;
  return least >= 0 && most < sight.window ? Seen::kAll : Seen::kSome;
}

// `kRows` rows on their way to shared memory at `to`; zeros behind the first `rows` of them and
// behind `pieces` pieces of a row.
template <int kDim, int kRows, int kThreads>
__device__ __forceinline__ void FetchRows(uint32_t to, const bf16* from, int64_t stride, int rows,
                                          int pieces) {
  constexpr unsigned kPieces = RowShape<kDim>::kPieces, kPassRows = kThreads / kPieces;
  static_assert(kRows % kPassRows == 0);
  const unsigned piece = threadIdx.x % kPieces, first = threadIdx.x / kPieces;
  const bf16* row_from = from + first * stride + piece * 8;
#pragma unroll
  for (unsigned pass = 0; pass < kRows / kPassRows; ++pass) {
    const unsigned row = pass * kPassRows + first;
    CopyAsync(to + Swizzled<kPieces>(row, piece), row_from,
              static_cast<int>(row) < rows && static_cast<int>(piece) < pieces);
    row_from += kPassRows * stride;
  }
}

// Where a lane reads its share of 16 rows × 16 elements, in bytes from the first row: as the left
// operand of Mma, or by LoadTransposed as the right one with the rows summed over; and by
// LoadMatrices as the right one with the elements summed over. For elements 16·step on, at ^
// (32·step): only the piece changes.
template <int kDim>
__device__ __forceinline__ uint32_t LeftPlace() {
  const unsigned lane = threadIdx.x % 32;
  return Swizzled<RowShape<kDim>::kPieces>(lane % 16, lane / 16);
}
template <int kDim>
__device__ __forceinline__ uint32_t RightPlace() {
  const unsigned lane = threadIdx.x % 32;
  return Swizzled<RowShape<kDim>::kPieces>(lane % 8 + lane / 16 * 8, lane / 8 % 2);
}

// The left operand of the next product, of sums [16, 16] of two products, rounded.
__device__ __forceinline__ void RoundSums(const float (&low)[4], const float (&high)[4],
                                          uint32_t (&to)[4]) {
  to[0] = RoundPair(low[0], low[1]);
  to[1] = RoundPair(low[2], low[3]);
  to[2] = RoundPair(high[0], high[1]);
  to[3] = RoundPair(high[2], high[3]);
}

// Scores from products <q, k>: in units of ln 2, once they are multiplied by `factor`. The cap has
// to be applied before that, where there is one.
struct Scores {
  float factor, inner, outer;  // cap: product ↦ outer · tanh(inner · product)
  __device__ explicit Scores(const Problem& p)
      : factor(p.softcap > 0 ? 1 : p.scale * kLog2E),
        inner(p.softcap > 0 ? p.scale / p.softcap : 0),
        outer(p.softcap * kLog2E) {}
  __device__ __forceinline__ bool capped() const { return outer > 0; }
};

// A warp's sums [16·kTiles, kDim], times `factor` and rounded, to the first `rows` of the rows
// behind `to`. `shared`: 16·kTiles rows that no other warp uses.
template <int kDim, int kTiles>
__device__ __forceinline__ void StoreRows(const float (&sum)[kTiles][kDim / 8][4], float factor,
                                          uint32_t shared, bf16* to, int64_t stride, int rows,
                                          int pieces) {
  constexpr unsigned kPieces = RowShape<kDim>::kPieces;
  const unsigned lane = threadIdx.x % 32;
  __syncwarp();
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float* pair = sum[t][n] + 2 * half;
        const uint32_t at =
            shared + Swizzled<kPieces>(t * 16 + half * 8 + lane / 4, n) + lane % 4 * 4;
        StoreWordShared(at, RoundPair(pair[0] * factor, pair[1] * factor));
      }
    }
  }
  __syncwarp();
  for (unsigned i = lane; i < 16 * kTiles * kPieces; i += 32) {
    const unsigned row = i / kPieces, piece = i % kPieces;
    if (static_cast<int>(row) >= rows || static_cast<int>(piece) >= pieces) continue;
    StoreGlobal(to + row * stride + piece * 8, LoadShared(shared + Swizzled<kPieces>(row, piece)));
  }
}

// Zeros in the tile's rows, from all threads.
__device__ __forceinline__ void StoreZeros(const Tile& tile, bf16* to, int64_t stride, int pieces) {
  for (int i = threadIdx.x; i < tile.size * pieces; i += blockDim.x) {
    StoreGlobal(to + (i / pieces) * stride + i % pieces * 8, uint4{0, 0, 0, 0});
  }
}

}  // namespace lockstep::kernels::device::flash
