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

[[noreturn]] inline void Unsupported(const char* op, const View& x) {
  std::fprintf(stderr, "F [%s] no CUDA kernel for %s\n", op, NameOf(x.dtype));
  std::abort();
}

inline cudaStream_t Handle(const Stream& stream) {
  return static_cast<cudaStream_t>(stream.handle);
}

// The first statement of every kernel (tools/dev/check_kernel_starts.sh): until all that was put on
// the stream before has ended and its writes are seen. StartKernel lets a kernel come up while the
// one before it ends; that this one has ended says the same of those before it because it waited.
__device__ __forceinline__ void WaitForPredecessors() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Whether the code of a kernel that the GPU runs is that for sm_90 or newer, which is not said by
// the GPU, as it takes PTX of any. A process has one kind of GPU and every kernel is compiled for
// the same ones, so the first kernel that is asked about speaks for all.
inline bool RunsSm90Code(const void* kernel) {
  static const bool runs = [=] {
    cudaFuncAttributes attributes;
    LOCKSTEP_CUDA_CHECK(cudaFuncGetAttributes(&attributes, kernel));
    return attributes.ptxVersion >= 90;
  }();
  return runs;
}

// Blocks of threads, bytes of dynamic shared memory, and how many neighboring blocks are a cluster
// (cluster.cuh), where the GPU has them; 0: none are.
struct LaunchSize {
  dim3 blocks, threads;
  size_t shared = 0;
  unsigned cluster = 0;
};

inline bool SharedMemoryFits(int bytes) {
  int device = 0, most = 0;
  LOCKSTEP_CUDA_CHECK(cudaGetDevice(&device));
  LOCKSTEP_CUDA_CHECK(
      cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  return bytes <= most;
}

// A launch as CUDA takes it.
class KernelLaunch {
 public:
  KernelLaunch(const void* kernel, const LaunchSize& size, const Stream& stream) : kernel_(kernel) {
    if (size.shared > 0) {  // which may be more than what is had without asking
      LOCKSTEP_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                               static_cast<int>(size.shared)));
    }
    attributes_[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes_[0].val.programmaticStreamSerializationAllowed = 1;
    attributes_[1].id = cudaLaunchAttributeClusterDimension;
    attributes_[1].val.clusterDim = {size.cluster, 1, 1};
    config_.gridDim = size.blocks;
    config_.blockDim = size.threads;
    config_.dynamicSmemBytes = size.shared;
    config_.stream = Handle(stream);
    config_.attrs = attributes_;
    config_.numAttrs = !RunsSm90Code(kernel) ? 0 : size.cluster == 0 ? 1 : 2;
  }
  KernelLaunch(const KernelLaunch&) = delete;

  void Start(void** arguments) {
    LOCKSTEP_CUDA_CHECK(cudaLaunchKernelExC(&config_, kernel_, arguments));
  }
  // How many of its clusters run at the same time.
  int ClustersAtOnce() {
    int clusters;
    LOCKSTEP_CUDA_CHECK(cudaOccupancyMaxActiveClusters(&clusters, kernel_, &config_));
    return clusters;
  }

 private:
  const void* kernel_;
  cudaLaunchAttribute attributes_[2] = {};
  cudaLaunchConfig_t config_ = {};
};

// Puts kernel(arguments…) on the stream. Where GPUs can (sm_90), it comes up while the kernel
// before it ends: 1 to 2 µs less each (docs/performance.md). How every kernel is launched.
template <typename... Parameters>
void StartKernel(void (*kernel)(Parameters...), const LaunchSize& size, const Stream& stream,
                 std::type_identity_t<Parameters>... arguments) {
  void* pointers[] = {&arguments...};
  KernelLaunch(reinterpret_cast<const void*>(kernel), size, stream).Start(pointers);
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
