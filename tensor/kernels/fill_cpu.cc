#include <algorithm>

#include "base/thread_pool.h"
#include "tensor/half.h"
#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/fill.h"

namespace lockstep::kernels::cpu {
namespace {

template <typename T>
void FillAs(const View& y, T value) {
  if (y.contiguous()) {
    constexpr int64_t kGrain = 1 << 18;  // elements
    T* const data = y.as<T>();
    return ParallelForRange(y.numel(), kGrain, [&](int64_t begin, int64_t end) {
      std::fill(data + begin, data + end, value);
    });
  }
  int64_t shape[kMaxRank], stride[kMaxRank];  // y with leading dimensions of one element
  for (int i = 0; i < kMaxRank; ++i) {
    const int dim = i - (kMaxRank - y.rank);
    shape[i] = dim < 0 ? 1 : y.shape[dim];
    stride[i] = dim < 0 ? 0 : y.stride[dim];
  }
  for (int64_t i = 0; i < shape[0]; ++i) {
    for (int64_t j = 0; j < shape[1]; ++j) {
      for (int64_t k = 0; k < shape[2]; ++k) {
        T* row = y.as<T>() + i * stride[0] + j * stride[1] + k * stride[2];
        for (int64_t l = 0; l < shape[3]; ++l) row[l * stride[3]] = value;
      }
    }
  }
}

}  // namespace

void Fill(const Stream& stream, const View& y, double value) {
  switch (y.dtype) {
    case DType::kF64:
      return FillAs<double>(y, value);
    case DType::kF32:
      return FillAs(y, static_cast<float>(value));
    case DType::kBF16:
      return FillAs(y, FloatToBf16(static_cast<float>(value)));
    case DType::kF16:
      return FillAs(y, FloatToF16(static_cast<float>(value)));
    case DType::kI64:
      return FillAs(y, static_cast<int64_t>(value));
    case DType::kI32:
      return FillAs(y, static_cast<int32_t>(value));
    case DType::kU8:
      return FillAs(y, static_cast<uint8_t>(value));
  }
}

}  // namespace lockstep::kernels::cpu
