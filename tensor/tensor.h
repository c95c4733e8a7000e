// Tensor: a View and the memory behind it, shared between copies.
//
//   Tensor x = Tensor::Empty(allocator, DType::kF32, {tokens, width});   // contents undefined
//   Tensor q = x.Slice(1, 0, 4096);                                       // the same memory
//   kernels::Fill(stream, x.Mutable("fill"), 0.0);
//
// Every write through Mutable() counts up the storage's version. Autograd remembers the version of
// what it saves, so a tensor that is modified in place while a backward pass still needs it is an
// error that names both ops, never a wrong gradient.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>

#include "absl/types/span.h"
#include "tensor/allocator.h"
#include "tensor/view.h"

namespace lockstep {

class Tensor {
 public:
  Tensor() = default;  // undefined

  // Contiguous memory of `allocator`, which must outlive it; contents undefined.
  static Tensor Empty(Allocator& allocator, DType dtype, absl::Span<const int64_t> shape);
  static Tensor Empty(Allocator& allocator, DType dtype, std::initializer_list<int64_t> shape) {
    return Empty(allocator, dtype, absl::MakeConstSpan(shape.begin(), shape.size()));
  }

  // Memory of somebody else, kept alive by `owner` (may be null: then the caller sees to it).
  static Tensor Wrap(const View& view, std::shared_ptr<const void> owner);

  bool defined() const { return storage_ != nullptr; }
  const View& view() const { return view_; }
  DType dtype() const { return view_.dtype; }
  Device device() const { return view_.device; }
  int rank() const { return view_.rank; }
  int64_t dim(int i) const { return view_.shape[i < 0 ? view_.rank + i : i]; }
  int64_t numel() const { return view_.numel(); }

  // For reading. Kernels take Views.
  operator const View&() const { return view_; }  // NOLINT(google-explicit-constructor)

  // For writing; `op` (a string literal) is who writes.
  const View& Mutable(const char* op) const;

  // Elements [begin, end) along `dim`; the same memory and version.
  Tensor Slice(int dim, int64_t begin, int64_t end) const;

  // The same elements in another shape; the tensor must be contiguous.
  Tensor Reshape(absl::Span<const int64_t> shape) const;
  Tensor Reshape(std::initializer_list<int64_t> shape) const {
    return Reshape(absl::MakeConstSpan(shape.begin(), shape.size()));
  }

  uint64_t version() const;
  const char* last_writer() const;
  // True if no other Tensor shares the memory: its owner may overwrite it.
  bool unique() const { return storage_.use_count() == 1; }
  bool SharesMemoryWith(const Tensor& other) const { return storage_ == other.storage_; }

 private:
  struct Storage;
  std::shared_ptr<Storage> storage_;
  View view_;
};

// "f32[4096, 64]", for messages.
std::string Describe(const View& view);

}  // namespace lockstep
