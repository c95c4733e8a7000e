// View: where a tensor's elements lie. Owns nothing, trivially copyable; what kernels take.
// Plain enough for .cu files: no Abseil, no glog.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/device.h"
#include "tensor/dtype.h"

namespace lockstep {

inline constexpr int kMaxRank = 4;

struct View {
  void* data = nullptr;
  DType dtype = DType::kF32;
  Device device;
  int rank = 0;
  int64_t shape[kMaxRank] = {};   // elements along each dimension
  int64_t stride[kMaxRank] = {};  // elements between neighbors; 1 for the last dimension where rows
                                  // are contiguous

  constexpr int64_t numel() const {
    int64_t product = 1;
    for (int i = 0; i < rank; ++i) product *= shape[i];
    return product;
  }
  constexpr size_t num_bytes() const { return static_cast<size_t>(numel()) * SizeOf(dtype); }

  // Row-major without holes. Dimensions of one element may have any stride.
  constexpr bool contiguous() const {
    int64_t expected = 1;
    for (int i = rank - 1; i >= 0; --i) {
      if (shape[i] != 1 && stride[i] != expected) return false;
      expected *= shape[i];
    }
    return true;
  }

  // The elements as T; the caller has checked the dtype.
  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }

  // Elements [begin, end) along `dim`; the same memory.
  constexpr View Slice(int dim, int64_t begin, int64_t end) const {
    View out = *this;
    out.data = static_cast<char*>(data) + begin * stride[dim] * static_cast<int64_t>(SizeOf(dtype));
    out.shape[dim] = end - begin;
    return out;
  }
};

// A row-major view without holes, e.g. MakeView(p, DType::kF32, device, {tokens, width}).
template <size_t N>
constexpr View MakeView(void* data, DType dtype, Device device, const int64_t (&shape)[N]) {
  static_assert(N <= kMaxRank);
  View view;
  view.data = data;
  view.dtype = dtype;
  view.device = device;
  view.rank = N;
  int64_t stride = 1;
  for (int i = static_cast<int>(N) - 1; i >= 0; --i) {
    view.shape[i] = shape[i];
    view.stride[i] = stride;
    stride *= shape[i];
  }
  return view;
}

}  // namespace lockstep
