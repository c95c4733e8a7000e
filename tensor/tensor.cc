#include "tensor/tensor.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace lockstep {

struct Tensor::Storage {
  ~Storage() {
    if (allocator != nullptr) allocator->Deallocate(data, bytes);
  }
  Allocator* allocator = nullptr;  // null: `owner` keeps the memory
  void* data = nullptr;
  size_t bytes = 0;
  std::shared_ptr<const void> owner;
  uint64_t version = 0;
  const char* last_writer = "nobody";
};

namespace {

View ContiguousView(void* data, DType dtype, Device device, absl::Span<const int64_t> shape) {
  CHECK_LE(shape.size(), static_cast<size_t>(kMaxRank));
  View view;
  view.data = data;
  view.dtype = dtype;
  view.device = device;
  view.rank = static_cast<int>(shape.size());
  int64_t stride = 1;
  for (int i = view.rank - 1; i >= 0; --i) {
    CHECK_GE(shape[i], 0);
    view.shape[i] = shape[i];
    view.stride[i] = stride;
    stride *= shape[i];
  }
  return view;
}

}  // namespace

Tensor Tensor::Empty(Allocator& allocator, DType dtype, absl::Span<const int64_t> shape) {
  Tensor tensor;
  tensor.view_ = ContiguousView(nullptr, dtype, allocator.device(), shape);
  tensor.storage_ = std::make_shared<Storage>();
  tensor.storage_->allocator = &allocator;
  tensor.storage_->bytes = tensor.view_.num_bytes();
  tensor.storage_->data = allocator.Allocate(tensor.storage_->bytes);
  tensor.view_.data = tensor.storage_->data;
  return tensor;
}

Tensor Tensor::Wrap(const View& view, std::shared_ptr<const void> owner) {
  Tensor tensor;
  tensor.view_ = view;
  tensor.storage_ = std::make_shared<Storage>();
  tensor.storage_->data = view.data;
  tensor.storage_->owner = std::move(owner);
  return tensor;
}

const View& Tensor::Mutable(const char* op) const {
  ++storage_->version;
  storage_->last_writer = op;
  return view_;
}

Tensor Tensor::Slice(int dim, int64_t begin, int64_t end) const {
  CHECK(0 <= dim && dim < view_.rank && 0 <= begin && begin <= end && end <= view_.shape[dim])
      << "[slice] want a range inside " << Describe(view_) << ", got [" << begin << ", " << end
      << ") along dimension " << dim;
  Tensor out = *this;
  out.view_ = view_.Slice(dim, begin, end);
  return out;
}

Tensor Tensor::Reshape(absl::Span<const int64_t> shape) const {
  CHECK(view_.contiguous()) << "[reshape] want a contiguous tensor, got " << Describe(view_);
  Tensor out = *this;
  out.view_ = ContiguousView(view_.data, view_.dtype, view_.device, shape);
  CHECK_EQ(out.numel(), numel()) << "[reshape] " << Describe(view_) << " to "
                                 << Describe(out.view_);
  return out;
}

uint64_t Tensor::version() const { return storage_->version; }
const char* Tensor::last_writer() const { return storage_->last_writer; }

std::string Describe(const View& view) {
  std::string text = absl::StrCat(NameOf(view.dtype), "[");
  for (int i = 0; i < view.rank; ++i) absl::StrAppend(&text, i == 0 ? "" : ", ", view.shape[i]);
  absl::StrAppend(&text, "]");
  if (!view.contiguous()) absl::StrAppend(&text, " (strided)");
  return text;
}

}  // namespace lockstep
