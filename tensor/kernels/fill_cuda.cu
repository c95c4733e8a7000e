#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/device/strides.cuh"
#include "tensor/kernels/fill.h"

namespace lockstep::kernels::cuda {
namespace {

using device::Handle;

// One thread an element, any strides; 4-, 2- or 8-byte writes.
template <typename T>
__global__ void FillStrided(T* data, View y, int64_t count, T value) {
  device::WaitForPredecessors();
  const int64_t n = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (n >= count) return;
  data[device::OffsetOf(y, n)] = value;
}

template <typename T>
void Launch(const Stream& stream, const View& y, T value) {
  device::StartKernel(FillStrided<T>, {device::Blocks(y.numel(), 256), 256}, stream, y.as<T>(), y,
                      y.numel(), value);
}

}  // namespace

void Fill(const Stream& stream, const View& y, double value) {
  if (y.numel() == 0) return;
  if (value == 0.0 && y.contiguous()) {
    LOCKSTEP_CUDA_CHECK(cudaMemsetAsync(y.data, 0, y.num_bytes(), Handle(stream)));
    return;
  }
  switch (y.dtype) {
    case DType::kF64:
      return Launch<double>(stream, y, value);
    case DType::kF32:
      return Launch<float>(stream, y, static_cast<float>(value));
    case DType::kBF16:
      return Launch<device::bf16>(stream, y, __float2bfloat16_rn(static_cast<float>(value)));
    case DType::kI64:
      return Launch<int64_t>(stream, y, static_cast<int64_t>(value));
    case DType::kI32:
      return Launch<int32_t>(stream, y, static_cast<int32_t>(value));
    case DType::kU8:
      return Launch<uint8_t>(stream, y, static_cast<uint8_t>(value));
    case DType::kF16:
      device::Unsupported("fill", y);
  }
}

}  // namespace lockstep::kernels::cuda
