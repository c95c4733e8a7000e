// Launching kernels from host code in .cu files.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <type_traits>

#include "tensor/kernels/device/vec.cuh"
#include "tensor/view.h"

namespace lockstep::kernels::device {

// .cu files parse neither glog nor Abseil; this is their CHECK. Ends the process as a fatal check
// does, with the place and CUDA's own words.
inline void CheckCuda(cudaError_t error, const char* what, const char* file, int line) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "F %s:%d] CUDA: %s: %s\n", file, line, what, cudaGetErrorString(error));
  std::abort();
}
#define LOCKSTEP_CUDA_CHECK(call) \
  ::lockstep::kernels::device::CheckCuda((call), #call, __FILE__, __LINE__)
// Behind each <<<…>>>.
#define LOCKSTEP_CHECK_LAUNCH() LOCKSTEP_CUDA_CHECK(cudaGetLastError())

[[noreturn]] inline void Unsupported(const char* op, const View& x) {
  std::fprintf(stderr, "F [%s] no CUDA kernel for %s\n", op, NameOf(x.dtype));
  std::abort();
}

inline cudaStream_t Handle(const Stream& stream) {
  return static_cast<cudaStream_t>(stream.handle);
}

// Calls body with a null pointer of the element type: f32 or bf16.
template <typename Body>
void DispatchType(const char* op, const View& x, const Body& body) {
  switch (x.dtype) {
    case DType::kF32:
      return body(static_cast<float*>(nullptr));
    case DType::kBF16:
      return body(static_cast<bf16*>(nullptr));
    default:
      Unsupported(op, x);
  }
}

// Whether rows of this many elements that start `stride` elements apart can be read 16 bytes at a
// time from `x.data` on.
inline bool Vectorizable(const View& x, int64_t width, int64_t stride) {
  const int64_t n = 16 / static_cast<int64_t>(SizeOf(x.dtype));
  return width % n == 0 && stride % n == 0 && reinterpret_cast<uintptr_t>(x.data) % 16 == 0;
}

// Whether rows of bf16 can be read 16 bytes at a time.
inline bool HasBf16Rows(const View& x) {
  return x.dtype == DType::kBF16 && x.stride[1] == 1 && Vectorizable(x, x.shape[1], x.stride[0]);
}

// Calls body with the elements of an access, as a compile-time value: 16 bytes of them, or one.
template <typename T, typename Body>
void DispatchVectors(bool vectors, const Body& body) {
  if (vectors) {
    body(std::integral_constant<int, kVec<T>>());
  } else {
    body(std::integral_constant<int, 1>());
  }
}

// Calls body with a number of steps of 16 ranks that holds `rank`, as a compile-time value: 1,
// 2, 4.
template <typename Body>
void DispatchSteps(int64_t rank, const Body& body) {
  if (rank <= 16) {
    body(std::integral_constant<int, 1>());
  } else if (rank <= 32) {
    body(std::integral_constant<int, 2>());
  } else {
    body(std::integral_constant<int, 4>());
  }
}

// The same for exactly `steps` of them: 1, 2, 3, 4.
template <typename Body>
void DispatchExactSteps(int64_t steps, const Body& body) {
  switch (steps) {
    case 1:
      return body(std::integral_constant<int, 1>());
    case 2:
      return body(std::integral_constant<int, 2>());
    case 3:
      return body(std::integral_constant<int, 3>());
    default:
      return body(std::integral_constant<int, 4>());
  }
}

inline unsigned Blocks(int64_t work, int64_t per_block) {
  return static_cast<unsigned>((work + per_block - 1) / per_block);
}

}  // namespace lockstep::kernels::device
