// Tensors from and to host memory.
#pragma once

#include <vector>

#include "absl/types/span.h"
#include "tensor/context.h"
#include "tensor/runtime.h"
#include "tensor/tensor.h"

namespace lockstep::nn {

// A one-dimensional tensor on context's device with these elements.
template <typename T>
Tensor FromHost(const Context& context, absl::Span<const T> values) {
  Tensor out =
      Tensor::Empty(*context.allocator, DTypeOf<T>::value, {static_cast<int64_t>(values.size())});
  if (!values.empty()) CopyToDevice(context.stream, values.data(), out.Mutable("from_host"));
  return out;
}

// The elements of a contiguous tensor, whose type must be T.
template <typename T>
std::vector<T> ToHost(const Context& context, const Tensor& tensor) {
  std::vector<T> out(tensor.numel());
  if (!out.empty()) CopyToHost(context.stream, tensor, out.data());
  return out;
}

}  // namespace lockstep::nn
