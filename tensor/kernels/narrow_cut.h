// How the one-pass kernels for LoRA's narrow products (device/narrow_panel.cuh) cut a wide tensor.
#pragma once

#include <algorithm>
#include <cstdint>

namespace lockstep::kernels {

// A block takes a strip of columns and a panel of rows: a function of the shape alone, because sums
// over a strip and over a panel are added up in its order. The numbers suit GPUs with about 132
// multiprocessors, two blocks each.
struct NarrowCut {
  static constexpr int64_t kTileRows = 32;  // a panel is whole tiles, the last one aside
  int64_t rank;                             // what ranks are padded to
  int64_t strips, panels, panel_rows;

  // By steps of 16 ranks: what a block's registers hold for its columns is about the same.
  static constexpr int64_t StripColumns(int64_t steps) {
    return steps == 1 ? 512 : steps == 2 ? 256 : 128;
  }
  static int64_t Strips(int64_t width, int64_t rank) {
    const int64_t columns = StripColumns((rank + 15) / 16);
    return (width + columns - 1) / columns;
  }
  NarrowCut(int64_t rows, int64_t strips, int64_t rank)
      : rank((rank + 15) / 16 * 16), strips(strips) {
    const int64_t most = std::max<int64_t>(2 * 132 / std::max<int64_t>(strips, 1), 1) * kTileRows;
    panel_rows = std::max<int64_t>((rows + most - 1) / most, 1) * kTileRows;
    panels = (rows + panel_rows - 1) / panel_rows;
  }
};

}  // namespace lockstep::kernels
