// Fill: y = value in every element.
//
//   y   any shape and strides; f64, f32, bf16, i64, i32 or u8, on the CPU also f16; written
#pragma once

#include "tensor/view.h"

namespace lockstep::kernels {

void Fill(const Stream& stream, const View& y, double value);

namespace cpu {
decltype(kernels::Fill) Fill;
}
namespace cuda {
decltype(kernels::Fill) Fill;
}

}  // namespace lockstep::kernels
