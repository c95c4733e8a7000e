// What a block of flash attention's backward pass (flash_attention_backward.cuh) works on: the
// shape of its tiles, and the rows that pass by one.
#pragma once

#include "tensor/kernels/device/flash_attention_tiles.cuh"

namespace lockstep::kernels::device::flash {

enum class Gradients { kQueries, kKeysAndValues, kKeys, kValues };

template <int kDim_, int kTiles_, int kColumns_, int kGroup_, int kWarps_, Gradients kOf>
struct BackwardShape : RowShape<kDim_> {
  static constexpr int kDim = kDim_, kTiles = kTiles_, kColumns = kColumns_;
  static constexpr int kGroup = kGroup_;  // of columns that a warp takes at a time
  static constexpr bool kRowsAreKeys = kOf != Gradients::kQueries;
  static constexpr bool kFirst = kOf != Gradients::kValues;  // ds·passing0
  static constexpr bool kSecond =                            // p·passing1
      kOf == Gradients::kKeysAndValues || kOf == Gradients::kValues;
  static constexpr int kWarps = kWarps_, kThreads = 32 * kWarps;
  static constexpr int kWarpRows = 16 * kTiles, kRows = kWarps * kWarpRows;
  static constexpr bool kHoldsSecond = kDim <= 128;  // own1 is in registers, as own0 is
  // Shared memory: two stages of passing rows, where own rows are at first and results at last.
  static constexpr int kPitch = RowShape<kDim>::kPitch;
  static constexpr int kPassingBytes = kColumns * kPitch, kStage = 2 * kPassingBytes;
  static constexpr int kOwnBytes = kRows * kPitch;
  static constexpr int kOwn1At = kHoldsSecond ? kOwnBytes : 2 * kStage;
  static constexpr int kStatisticsAt = 2 * kStage + (kFirst && !kHoldsSecond ? kOwnBytes : 0);
  static constexpr int kBytes = kStatisticsAt + 2 * 2 * kColumns * 4;  // lse, delta of a stage
  static_assert((kHoldsSecond ? 2 : 1) * kOwnBytes <= 2 * kStage);
  static_assert(kBytes <= 99 * 1024, "what every GPU from sm_80 on has");
};

struct BackwardArguments {
  Problem problem;
  Heads own[2], passing[2];
  Heads to[2];  // the gradient of own0; of v
  const float *lse, *delta;
};

// kColumns passing rows of a head, from the document's row `column` on, and where they lie.
struct Turn {
  int head, column, stage;
};

// The rows that pass by a tile: turn by turn, of one head after the other.
template <typename Shape>
struct Passing {
  const BackwardArguments& in;
  int start, rows;  // the document's first row, and how many it has
  int begin, end;   // of those, what can be in sight
  int head, heads;  // the first, and behind the last

  __device__ Passing(const BackwardArguments& in, const Tile& tile, int own_head) : in(in) {
    const Problem& p = in.problem;
    const int group = static_cast<int>(p.heads / p.kv_heads);
    const int32_t* starts = Shape::kRowsAreKeys ? p.starts_q : p.starts_k;
    start = starts[tile.document];
    rows = starts[tile.document + 1] - start;
    head = Shape::kRowsAreKeys ? own_head * group : own_head / group;
    const Sight sight = SightOf(tile);
    if (Shape::kRowsAreKeys) {
      const int last = tile.begin + tile.size - 1 - sight.offset;  // sees the tile's last key first
      begin = max(0, tile.begin - sight.offset);
      end = rows - last > sight.window ? last + sight.window : rows;
    } else {
      begin = max(0, tile.begin + sight.offset - (sight.window - 1));
      end = tile.begin + tile.size + sight.offset;
    }
    heads = begin < end ? head + (Shape::kRowsAreKeys ? group : 1) : head;
  }

  __device__ Sight SightOf(const Tile& tile) const {
    return Shape::kRowsAreKeys ? Sight(in.problem, rows, tile.rows)
                               : Sight(in.problem, tile.rows, rows);
  }
  __device__ __forceinline__ Turn First() const { return {head, begin, 0}; }
  __device__ __forceinline__ bool Has(const Turn& turn) const { return turn.head < heads; }
  __device__ __forceinline__ Turn Behind(const Turn& turn) const {
    const int column = turn.column + Shape::kColumns, stage = 1 - turn.stage;
    return column < end ? Turn{turn.head, column, stage} : Turn{turn.head + 1, begin, stage};
  }

  __device__ __forceinline__ void Fetch(uint32_t shared, const Turn& turn) const {
    const int64_t row = start + turn.column;
    const int pieces = static_cast<int>(in.problem.dim / 8);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      FetchRows<Shape::kDim, Shape::kColumns, Shape::kThreads>(
          shared + turn.stage * Shape::kStage + i * Shape::kPassingBytes,
          in.passing[i].template At<bf16>(row, turn.head), in.passing[i].row, rows - turn.column,
          pieces);
    }
    if constexpr (Shape::kRowsAreKeys) {
      static_assert(2 * Shape::kColumns <= Shape::kThreads);
      const int i = static_cast<int>(threadIdx.x), place = i % Shape::kColumns;
      if (i < 2 * Shape::kColumns) {
        CopyWordAsync(shared + Shape::kStatisticsAt + turn.stage * 8 * Shape::kColumns + i * 4,
                      (i < Shape::kColumns ? in.lse : in.delta) + (row + place) * in.problem.heads +
                          turn.head,
                      turn.column + place < rows);
      }
    }
    CommitCopies();
  }
};

}  // namespace lockstep::kernels::device::flash
