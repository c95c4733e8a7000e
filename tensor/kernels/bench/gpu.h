// What the benchmarks of GPU kernels share: the GPU, operands, and how a figure is taken.
#pragma once

#include <functional>
#include <initializer_list>
#include <string>

#include "absl/types/span.h"
#include "tensor/context.h"
#include "tensor/tensor.h"

namespace lockstep::kernels {

// An 8B Llama, 2 documents of 4096 tokens, rank 16, 42 M trainable values.
inline constexpr int64_t kTokens = 8192, kWidth = 4096, kFfn = 14336, kVocab = 128256;
inline constexpr int64_t kHeadRows = 1024, kHeads = 32, kKvHeads = 8, kHeadDim = 128, kRank = 16;
inline constexpr int64_t kFlat = int64_t{40} << 20;
inline constexpr DType kHalf = DType::kBF16;

// The first GPU, for as long as the process lives. Null if there is none.
const Context* Gpu();
const Stream& OnGpu();

Tensor Empty(DType dtype, std::initializer_list<int64_t> shape);
Tensor Zeros(DType dtype, std::initializer_list<int64_t> shape);
// Normal values, in blocks that repeat: products with zeros would draw less power.
Tensor Random(DType dtype, std::initializer_list<int64_t> shape);
Tensor FromHost(absl::Span<const int32_t> values);
// [n] i32: scattered over [0, below).
Tensor Indices(int64_t n, int64_t below);
// Columns of merged heads, [T, N · D], as [T, N, D]: `count` heads from `first` on.
View HeadsOf(const View& x, int64_t first, int64_t count, int64_t dim);

enum class Work { kBytes, kOperations };

// A line "gpu/<what>". `make` prepares operands and returns the pass, which does `amount` of the
// work: bytes that it must read and write, or operations.
void RegisterOnGpu(const std::string& what, Work work, double amount,
                   std::function<std::function<void()>()> make);

}  // namespace lockstep::kernels
