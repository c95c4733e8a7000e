// From a kernel's front door to the device it runs on.
//
// An op `Foo` has one contract (foo.h), one front door (foo.cc: checks, then LOCKSTEP_DISPATCH),
// and a twin per device with the same arguments, which foo.h declares: namespace cpu, and cuda,
// { decltype(kernels::Foo) Foo; }.
// On kMeta nothing runs: the checks were the point.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "absl/strings/str_join.h"
#include "base/check.h"
#include "tensor/tensor.h"

// Calls cpu::function(...) or cuda::function(...) by `stream`'s device. The only place that knows
// whether this build has CUDA: bazel/defs.bzl defines LOCKSTEP_OP_HAS_CUDA for ops whose .cu is in.
#ifdef LOCKSTEP_OP_HAS_CUDA
#define LOCKSTEP_CUDA_CALL(function, ...) cuda::function(__VA_ARGS__)
#else
#define LOCKSTEP_CUDA_CALL(function, ...) \
  LOG(FATAL) << "[" #function "] this build has no CUDA kernel for it"
#endif

#define LOCKSTEP_DISPATCH(stream, function, ...)                       \
  switch ((stream).device.type) {                                      \
    case ::lockstep::DeviceType::kCPU:                                 \
      cpu::function(stream __VA_OPT__(, ) __VA_ARGS__);                \
      break;                                                           \
    case ::lockstep::DeviceType::kCUDA:                                \
      LOCKSTEP_CUDA_CALL(function, stream __VA_OPT__(, ) __VA_ARGS__); \
      break;                                                           \
    case ::lockstep::DeviceType::kMeta:                                \
      break;                                                           \
  }

// Runs `body` (a generic lambda) with a value of the C++ type of a floating-point dtype that the
// CPU computes in: DispatchFloat(x.dtype, [&](auto zero) { using T = decltype(zero); … });
namespace lockstep::kernels {

template <typename Body>
void DispatchFloat(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kF32:
      return body(float{0});
    case DType::kF64:
      return body(double{0});
    default:
      LOG(FATAL) << "[cpu] want f32 or f64, got " << NameOf(dtype);
  }
}

}  // namespace lockstep::kernels

// [op] name: want shape [768], got f32[512]
#define CHECK_SHAPE(op, name, view, ...) \
  ::lockstep::kernels::CheckShape(op, name, view, {__VA_ARGS__})
#define CHECK_DTYPE(op, name, view, wanted)                                     \
  CHECK((view).dtype == (wanted)) << "[" << (op) << "] " << (name) << ": want " \
                                  << ::lockstep::NameOf(wanted) << ", got "     \
                                  << ::lockstep::Describe(view)

namespace lockstep::kernels {

inline void CheckShape(const char* op, const char* name, const View& view,
                       std::initializer_list<int64_t> shape) {
  const int64_t* const got = view.shape;
  CHECK(std::equal(shape.begin(), shape.end(), got, got + view.rank))
      << "[" << op << "] " << name << ": want shape [" << absl::StrJoin(shape, ", ") << "], got "
      << Describe(view);
}

// For `y`, which holds sums of elements of type `of`.
inline void CheckSumType(const char* op, const char* name, const View& y, DType of) {
  CHECK(y.dtype == of || y.dtype == AccumulateType(of))
      << "[" << op << "] " << name << ": want " << NameOf(of) << " or "
      << NameOf(AccumulateType(of)) << ", got " << Describe(y);
}

}  // namespace lockstep::kernels
