#include <cstring>

#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/glu_lora.h"

namespace lockstep::kernels::cpu {
namespace {

// x += scale · h bᵀ.
template <typename T>
void AddShare(const LoraShare& share, const View& x) {
  if (share.h.rank == 0) return;
  for (int64_t t = 0; t < x.shape[0]; ++t) {
    for (int64_t f = 0; f < x.shape[1]; ++f) {
      T sum = 0;
      for (int64_t k = 0; k < share.h.shape[1]; ++k) {
        sum += share.h.as<T>()[t * share.h.stride[0] + k * share.h.stride[1]] *
               share.b.as<T>()[f * share.b.stride[0] + k * share.b.stride[1]];
      }
      x.as<T>()[t * x.stride[0] + f] += static_cast<T>(share.scale) * sum;
    }
  }
}

// z in memory of its own, [gate | up].
Tensor Inputs(Allocator& allocator, const View& x, const LoraShare& gate, const LoraShare& up) {
  const int64_t width = x.shape[1] / 2;
  const Tensor z = Tensor::Empty(allocator, x.dtype, {x.shape[0], x.shape[1]});
  std::memcpy(z.view().data, x.data, x.num_bytes());
  DispatchFloat(x.dtype, [&](auto zero) {
    AddShare<decltype(zero)>(gate, z.view().Slice(1, 0, width));
    AddShare<decltype(zero)>(up, z.view().Slice(1, width, 2 * width));
  });
  return z;
}

}  // namespace

void GluLora(const Stream& stream, const View& x, const LoraShare& gate, const LoraShare& up,
             GluActivation activation, const View& y) {
  CpuAllocator allocator;
  kernels::Glu(stream, Inputs(allocator, x, gate, up), activation, y);
}

void GluLoraBackward(const Stream& stream, const View& dy, const LoraShare& of_dy, const View& x,
                     const LoraShare& gate, const LoraShare& up, GluActivation activation) {
  CpuAllocator allocator;
  const Tensor z = Inputs(allocator, x, gate, up);
  DispatchFloat(x.dtype, [&](auto zero) { AddShare<decltype(zero)>(of_dy, dy); });
  kernels::GluBackward(stream, dy, z, activation, x);
  kernels::Glu(stream, z, activation, dy);
}

}  // namespace lockstep::kernels::cpu
