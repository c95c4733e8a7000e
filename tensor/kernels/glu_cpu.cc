#include "base/thread_pool.h"
#include "tensor/kernels/cpu/math.h"
#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/glu.h"

namespace lockstep::kernels::cpu {
namespace {

constexpr int64_t kTokensPerTask = 8;

template <typename T>
struct Value {
  T value, slope;  // act(z), act′(z)
};

struct Silu {
  template <typename T>
  static Value<T> At(T z) {
    const T s = Sigmoid(z);
    return {z * s, s * (T{1} + z * (T{1} - s))};
  }
};

struct GeluTanh {
  template <typename T>
  static Value<T> At(T z) {
    constexpr T kScale = static_cast<T>(0.79788456080286535588);  // √(2/π)
    constexpr T kCubic = static_cast<T>(0.044715);
    const T t = Tanh(kScale * (z + kCubic * z * z * z));
    const T inner = kScale * (T{1} + 3 * kCubic * z * z);
    return {z / 2 * (T{1} + t), (T{1} + t) / 2 + z / 2 * (T{1} - t * t) * inner};
  }
};

template <typename T, typename Act>
void Forward(const View& x, const View& y) {
  const int64_t width = y.shape[1];
  ParallelForRange(y.shape[0], kTokensPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const T *gate = x.as<T>() + t * 2 * width, *up = gate + width;
      T* out = y.as<T>() + t * width;
      for (int64_t i = 0; i < width; ++i) out[i] = Act::At(gate[i]).value * up[i];
    }
  });
}

template <typename T, typename Act>
void Backward(const View& dy, const View& x, const View& dx) {
  const int64_t width = dy.shape[1];
  ParallelForRange(dy.shape[0], kTokensPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const T *gate = x.as<T>() + t * 2 * width, *up = gate + width, *d = dy.as<T>() + t * width;
      T *dgate = dx.as<T>() + t * 2 * width, *dup = dgate + width;
      for (int64_t i = 0; i < width; ++i) {
        const Value<T> act = Act::At(gate[i]);
        const T from_up = d[i] * up[i];
        dup[i] = d[i] * act.value;
        dgate[i] = from_up * act.slope;
      }
    }
  });
}

// Calls body(T, Act) for the dtype and the activation.
template <typename Body>
void Dispatch(DType dtype, GluActivation activation, const Body& body) {
  DispatchFloat(dtype, [&](auto zero) {
    switch (activation) {
      case GluActivation::kSilu:
        return body(zero, Silu{});
      case GluActivation::kGeluTanh:
        return body(zero, GeluTanh{});
    }
  });
}

}  // namespace

void Glu(const Stream& stream, const View& x, GluActivation activation, const View& y) {
  Dispatch(x.dtype, activation,
           [&](auto zero, auto act) { Forward<decltype(zero), decltype(act)>(x, y); });
}

void GluBackward(const Stream& stream, const View& dy, const View& x, GluActivation activation,
                 const View& dx) {
  Dispatch(x.dtype, activation,
           [&](auto zero, auto act) { Backward<decltype(zero), decltype(act)>(dy, x, dx); });
}

}  // namespace lockstep::kernels::cpu
