#include <algorithm>

#include "base/thread_pool.h"
#include "tensor/half.h"
#include "tensor/kernels/cast.h"
#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels::cpu {
namespace {

// One element of each type as it lies in memory; the 16-bit types by way of fp32.
struct F64 {
  using Storage = double;
  static double Load(double x) { return x; }
  static double Store(double x) { return x; }
};
struct F32 {
  using Storage = float;
  static float Load(float x) { return x; }
  template <typename T>
  static float Store(T x) {
    return static_cast<float>(x);
  }
};
struct BF16 {
  using Storage = uint16_t;
  static float Load(uint16_t x) { return Bf16ToFloat(x); }
  template <typename T>
  static uint16_t Store(T x) {
    return FloatToBf16(static_cast<float>(x));
  }
};
struct F16 {
  using Storage = uint16_t;
  static float Load(uint16_t x) { return F16ToFloat(x); }
  template <typename T>
  static uint16_t Store(T x) {
    return FloatToF16(static_cast<float>(x));
  }
};

template <typename Body>
void DispatchStorage(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kF64:
      return body(F64{});
    case DType::kF32:
      return body(F32{});
    case DType::kBF16:
      return body(BF16{});
    case DType::kF16:
      return body(F16{});
    default:
      LOG(FATAL) << "[cast] " << NameOf(dtype);
  }
}

// `view` as a matrix of rows along its last dimension.
struct Rows {
  explicit Rows(const View& v) : view(v), last(v.rank - 1) {}
  int64_t length() const { return view.rank == 0 ? 1 : view.shape[last]; }
  int64_t step() const { return view.rank == 0 ? 1 : view.stride[last]; }
  int64_t Offset(int64_t row) const {
    int64_t offset = 0;
    for (int d = last - 1; d >= 0; --d) {
      offset += row % view.shape[d] * view.stride[d];
      row /= view.shape[d];
    }
    return offset;
  }
  View view;
  int last;
};

View Flat(const View& x) { return MakeView(x.data, x.dtype, x.device, {x.numel() / 256, 256}); }

template <typename From, typename To>
void CastRow(const typename From::Storage* x, int64_t x_step, typename To::Storage* y,
             int64_t y_step, int64_t n) {
  if (x_step == 1 && y_step == 1) {
    for (int64_t i = 0; i < n; ++i) y[i] = To::Store(From::Load(x[i]));
  } else {
    for (int64_t i = 0; i < n; ++i) y[i * y_step] = To::Store(From::Load(x[i * x_step]));
  }
}

template <typename From, typename To>
void CastRows(const View& x, const View& y) {
  const Rows from(x), to(y);
  const int64_t length = from.length();
  if (x.numel() == 0) return;
  ParallelForRange(x.numel() / length, std::max<int64_t>(1, (1 << 15) / length),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t row = begin; row < end; ++row) {
                       CastRow<From, To>(x.as<typename From::Storage>() + from.Offset(row),
                                         from.step(), y.as<typename To::Storage>() + to.Offset(row),
                                         to.step(), length);
                     }
                   });
}

}  // namespace

void Cast(const Stream& stream, const View& x, const View& y) {
  DispatchStorage(x.dtype, [&](auto from) {
    DispatchStorage(y.dtype, [&](auto to) {
      // Long flat tensors are cut into rows, so that threads share them.
      const bool flat = x.contiguous() && y.contiguous() && x.numel() % 256 == 0;
      CastRows<decltype(from), decltype(to)>(flat ? Flat(x) : x, flat ? Flat(y) : y);
    });
  });
}

}  // namespace lockstep::kernels::cpu
