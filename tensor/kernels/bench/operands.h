// Tensors for benchmarks.
#pragma once

#include "tensor/tensor.h"

namespace lockstep::kernels {

inline Allocator& BenchAllocator() {
  static CpuAllocator* allocator = new CpuAllocator;
  return *allocator;
}

inline Tensor Bytes(int64_t bytes) { return Tensor::Empty(BenchAllocator(), DType::kU8, {bytes}); }

// Of both signs, around 0, no two neighbors alike.
inline Tensor Filled(std::initializer_list<int64_t> shape) {
  const Tensor x = Tensor::Empty(BenchAllocator(), DType::kF32, shape);
  for (int64_t i = 0; i < x.numel(); ++i) x.view().as<float>()[i] = (i * 37 % 101 - 50) * 0.02f;
  return x;
}

}  // namespace lockstep::kernels
