// Partial sums, added in order.
#pragma once

#include <algorithm>

#include "tensor/kernels/device/launch.cuh"

namespace lockstep::kernels::device {

// Matrices of the same shape; each of them, and each row, starts at 16 bytes.
struct Partials {
  const float* first;
  int64_t count, step, row;  // how many; elements between them, and between rows
};

// to[row][column] = scale · Σ_i from[i][row][column], i from 0 on, + to if it accumulates.
struct PartialSum {
  Partials from;
  void* to;  // f32 or bf16; 4 elements aligned
  int64_t to_row;
  int64_t rows, columns;  // columns a multiple of 4
  float scale;
  bool to_bf16, accumulate;
};
struct PartialSumList {
  static constexpr int kMost = 8;
  PartialSum sum[kMost];
  int size = 0;

  // `to` is what TakesPartialSums, or no view (rank 0): not wanted.
  void Add(const Partials& from, const View& to, double scale, bool accumulate = false) {
    if (to.rank == 0) return;
    sum[size++] = {from,
                   to.data,
                   to.stride[0],
                   to.shape[0],
                   to.shape[1],
                   static_cast<float>(scale),
                   to.dtype == DType::kBF16,
                   accumulate};
  }
};

// Whether `to` can be written 4 elements at a time, in this type.
inline bool TakesPartialSums(const View& to, DType dtype) {
  return to.dtype == dtype && to.stride[1] == 1 && to.stride[0] % 4 == 0 && to.shape[1] % 4 == 0 &&
         reinterpret_cast<uintptr_t>(to.data) % (4 * SizeOf(dtype)) == 0;
}

// A thread has 4 neighbors of sum blockIdx.y: it reads them of one partial after the other, so that
// the order is that of the partials, and writes them once.
static __global__ void __launch_bounds__(256) PartialSumKernel(const PartialSumList list) {
  WaitForPredecessors();
  const PartialSum& s = list.sum[blockIdx.y];
  const int64_t at = (static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x) * 4;
  if (at >= s.rows * s.columns) return;
  const int64_t row = at / s.columns, column = at % s.columns;
  const float* from = s.from.first + row * s.from.row + column;
  float total[4] = {};
#pragma unroll 8
  for (int64_t i = 0; i < s.from.count; ++i) {
    float x[4];
    Load(from + i * s.from.step, x);
#pragma unroll
    for (int c = 0; c < 4; ++c) total[c] += x[c];
  }
#pragma unroll
  for (int c = 0; c < 4; ++c) total[c] *= s.scale;
  if (s.to_bf16) {
    Store(static_cast<bf16*>(s.to) + row * s.to_row + column, total);
    return;
  }
  float* const to = static_cast<float*>(s.to) + row * s.to_row + column;
  if (s.accumulate) {
    float old[4];
    Load(to, old);
#pragma unroll
    for (int c = 0; c < 4; ++c) total[c] += old[c];
  }
  Store(to, total);
}

inline void AddPartialSums(const Stream& stream, const PartialSumList& list) {
  int64_t most = 0;
  for (int i = 0; i < list.size; ++i) {
    most = std::max(most, list.sum[i].rows * list.sum[i].columns);
  }
  if (most == 0) return;
  StartKernel(PartialSumKernel, {dim3(Blocks(most, 4 * 256), list.size), 256}, stream, list);
}

}  // namespace lockstep::kernels::device
