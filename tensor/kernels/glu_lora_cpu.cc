#include <cstring>

#include "tensor/kernels/cpu/lora_share.h"
#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/glu_lora_parts.h"

namespace lockstep::kernels::cpu {
namespace {

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
             GluActivation activation, const DropoutMask& mask, const View& y,
             const LoraFactor& next, const View&) {
  CpuAllocator allocator;
  kernels::Glu(stream, Inputs(allocator, x, gate, up), activation, y);
  MultiplyNext(stream, y, mask, next);
}

void GluLoraBackward(const Stream& stream, const View& dy, const LoraShare& of_dy, const View& x,
                     const LoraShare& gate, const LoraShare& up, GluActivation activation,
                     const DropoutMask& mask, const GluLoraGradients& gradients,
                     const View& scratch) {
  CpuAllocator allocator;
  const Tensor z = Inputs(allocator, x, gate, up);
  if (mask.empty()) {
    DispatchFloat(x.dtype, [&](auto zero) { AddShare<decltype(zero)>(of_dy, dy); });
  } else {
    AddDropped(stream, of_dy, mask, dy);
  }
  kernels::GluBackward(stream, dy, z, activation, x);
  kernels::Glu(stream, z, activation, dy);
  MultiplyGradients(stream, x, dy, gate, up, of_dy, mask, gradients, scratch);
}

}  // namespace lockstep::kernels::cpu
