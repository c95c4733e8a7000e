#include "tensor/kernels/cast.h"
#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/device/strides.cuh"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

// One thread an element.
template <typename From, typename To>
__global__ void CastStrided(const From* __restrict__ from, View x, To* __restrict__ to, View y,
                            int64_t n) {
  WaitForPredecessors();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) to[OffsetOf(y, i)] = FromFloat<To>(ToFloat(from[OffsetOf(x, i)]));
}

// One thread 8 elements: 16-byte accesses on the narrow side.
template <typename From, typename To>
__global__ void CastContiguous(const From* __restrict__ x, To* __restrict__ y, int64_t n) {
  WaitForPredecessors();
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * 8;
  if (i + 8 <= n) {
    float v[8];
    Load(x + i, v);
    Store(y + i, v);
  } else {
    for (int64_t j = i; j < n; ++j) y[j] = FromFloat<To>(ToFloat(x[j]));
  }
}

template <typename From, typename To>
void Launch(const Stream& stream, const View& x, const View& y) {
  const int64_t n = y.numel();
  const bool aligned = reinterpret_cast<uintptr_t>(x.data) % 32 == 0 &&
                       reinterpret_cast<uintptr_t>(y.data) % 32 == 0;
  if (x.contiguous() && y.contiguous() && aligned) {
    StartKernel(CastContiguous<From, To>, {Blocks(n, 8 * 256), 256}, stream, x.as<From>(),
                y.as<To>(), n);
  } else {
    StartKernel(CastStrided<From, To>, {Blocks(n, 256), 256}, stream, x.as<From>(), x, y.as<To>(),
                y, n);
  }
}

// The only doubles on a GPU are a few sums: of losses, on their way into fp32 gradient sums.
__global__ void NarrowDoubles(const double* __restrict__ x, float* __restrict__ y, int64_t n) {
  WaitForPredecessors();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) y[i] = static_cast<float>(x[i]);
}

}  // namespace

void Cast(const Stream& stream, const View& x, const View& y) {
  if (y.numel() == 0) return;
  if (x.dtype == y.dtype && x.contiguous() && y.contiguous()) {
    LOCKSTEP_CUDA_CHECK(
        cudaMemcpyAsync(y.data, x.data, y.num_bytes(), cudaMemcpyDeviceToDevice, Handle(stream)));
    return;
  }
  if (x.dtype == DType::kF64 && y.dtype == DType::kF32 && x.contiguous() && y.contiguous()) {
    const int64_t n = y.numel();
    StartKernel(NarrowDoubles, {Blocks(n, 256), 256}, stream, x.as<double>(), y.as<float>(), n);
    return;
  }
  DispatchType("cast", x, [&](auto* from) {
    DispatchType("cast", y, [&](auto* to) {
      Launch<std::remove_pointer_t<decltype(from)>, std::remove_pointer_t<decltype(to)>>(stream, x,
                                                                                         y);
    });
  });
}

}  // namespace lockstep::kernels::cuda
