#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/dropped_lora.h"
#include "tensor/kernels/gemm.h"

namespace lockstep::kernels::cpu {
namespace {

// y = m ∘ x / (1 − p), or += it; y may be x.
void Drop(const View& x, const DropoutMask& mask, bool accumulate, const View& y) {
  DispatchFloat(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t t = 0; t < x.shape[0]; ++t) {
      const uint8_t* const bits = mask.bits.as<uint8_t>() + t * mask.bits.shape[1];
      for (int64_t c = 0; c < x.shape[1]; ++c) {
        const bool kept = bits[DropoutByte(c)] >> DropoutBit(c) & 1;
        T& to = y.as<T>()[t * y.stride[0] + c];
        const T value = kept ? x.as<T>()[t * x.stride[0] + c] * static_cast<T>(mask.scale()) : T{0};
        to = accumulate ? to + value : value;
      }
    }
  });
}

}  // namespace

void DroppedInputs(const Stream& stream, const View& x, const std::vector<DroppedPart>& parts) {
  CpuAllocator allocator;
  for (const DroppedPart& part : parts) {
    const Tensor dropped = Tensor::Empty(allocator, x.dtype, {x.shape[0], x.shape[1]});
    Drop(x, part.mask, false, dropped);
    kernels::Gemm(stream, dropped, Transposed(part.a), part.h);
  }
}

void DroppedGradients(const Stream& stream, const NormedMatrix& x,
                      const std::vector<DroppedPart>& parts, const View&) {
  CpuAllocator allocator;
  const int64_t rows = x.x.shape[0], width = x.x.shape[1];
  View read = x.x;
  const Tensor normed = Tensor::Empty(allocator, x.x.dtype, {rows, width});
  if (x.rstd.rank != 0) {
    kernels::RmsNormAgain(stream, x.x, x.w, x.rstd, x.options, normed);
    read = normed;
  }
  for (const DroppedPart& part : parts) {
    if (part.da.rank == 0) continue;
    const Tensor dropped = Tensor::Empty(allocator, x.x.dtype, {rows, width});
    Drop(read, part.mask, false, dropped);
    kernels::Gemm(stream, Transposed(part.h), dropped, part.da,
                  {.beta = part.accumulate ? 1.0 : 0.0});
  }
}

void DroppedShares(const Stream& stream, const std::vector<DroppedPart>& parts, bool accumulate,
                   const View& dx) {
  CpuAllocator allocator;
  const Tensor share = Tensor::Empty(allocator, dx.dtype, {dx.shape[0], dx.shape[1]});
  for (const DroppedPart& part : parts) {
    kernels::Gemm(stream, part.h, part.a, share);
    Drop(share, part.mask, accumulate, dx);
    accumulate = true;
  }
}

}  // namespace lockstep::kernels::cpu
