// Scale: y = factor[0] · x, added to y instead if `accumulate`. The factor is read on the device.
//
//   x        contiguous; f64 or f32, on CUDA f32 or bf16
//   factor   [1] f64
//   y        as many elements, contiguous; x's dtype, or f32 where x is bf16; written. May be x
//            unless `accumulate`
#pragma once

#include "tensor/view.h"

namespace lockstep::kernels {

void Scale(const Stream& stream, const View& x, const View& factor, bool accumulate, const View& y);

namespace cpu {
decltype(kernels::Scale) Scale;
}
namespace cuda {
decltype(kernels::Scale) Scale;
}

}  // namespace lockstep::kernels
