// Helpers for kernel tests: tensors with known contents, guard bands, comparison.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "tensor/context.h"
#include "tensor/half.h"
#include "tensor/runtime.h"
#include "tensor/tensor.h"

namespace lockstep::kernels {

// The CPU as a device to run kernels on; one allocator a process.
inline Context CpuContext() {
  static CpuAllocator* allocator = new CpuAllocator;
  return Context{Stream{Device{DeviceType::kCPU}}, allocator};
}

// The first GPU, or null where there is none. Under compute-sanitizer (tools/dev/bundle/sanitize.sh
// sets the variable) every tensor has memory of its own.
inline const Context* GpuContext() {
  static const RuntimeOptions options = {
      .separate_blocks = std::getenv("LOCKSTEP_TEST_SEPARATE_BLOCKS") != nullptr};
  static const Runtime* runtime =
      CudaDeviceCount() == 0 ? nullptr
                             : Runtime::Open(Device{DeviceType::kCUDA, 0}, options)->release();
  return runtime == nullptr ? nullptr : &runtime->context();
}
// First line of a test of CUDA kernels.
#define SKIP_WITHOUT_GPU() \
  if (::lockstep::kernels::GpuContext() == nullptr) GTEST_SKIP() << "no GPU here"

// Copies between the CPU and the GPU; contiguous tensors.
inline Tensor ToGpu(const Tensor& x) {
  const Context& gpu = *GpuContext();
  const Tensor copy =
      Tensor::Empty(*gpu.allocator, x.dtype(), absl::MakeConstSpan(x.view().shape, x.rank()));
  CopyToDevice(gpu.stream, x.view().data, copy);
  return copy;
}
inline Tensor ToCpu(const Tensor& x) {
  const Tensor copy = Tensor::Empty(*CpuContext().allocator, x.dtype(),
                                    absl::MakeConstSpan(x.view().shape, x.rank()));
  CopyToHost(GpuContext()->stream, x, copy.view().data);
  return copy;
}

inline double GetElement(const void* data, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::kF64:
      return static_cast<const double*>(data)[i];
    case DType::kF32:
      return static_cast<const float*>(data)[i];
    case DType::kBF16:
      return Bf16ToFloat(static_cast<const uint16_t*>(data)[i]);
    case DType::kF16:
      return F16ToFloat(static_cast<const uint16_t*>(data)[i]);
    case DType::kI64:
      return static_cast<double>(static_cast<const int64_t*>(data)[i]);
    case DType::kI32:
      return static_cast<const int32_t*>(data)[i];
    case DType::kU8:
      return static_cast<const uint8_t*>(data)[i];
  }
  return NAN;
}

inline void SetElement(void* data, DType dtype, int64_t i, double value) {
  switch (dtype) {
    case DType::kF64:
      static_cast<double*>(data)[i] = value;
      break;
    case DType::kF32:
      static_cast<float*>(data)[i] = static_cast<float>(value);
      break;
    case DType::kBF16:
      static_cast<uint16_t*>(data)[i] = FloatToBf16(static_cast<float>(value));
      break;
    case DType::kF16:
      static_cast<uint16_t*>(data)[i] = FloatToF16(static_cast<float>(value));
      break;
    case DType::kI64:
      static_cast<int64_t*>(data)[i] = static_cast<int64_t>(value);
      break;
    case DType::kI32:
      static_cast<int32_t*>(data)[i] = static_cast<int32_t>(value);
      break;
    case DType::kU8:
      static_cast<uint8_t*>(data)[i] = static_cast<uint8_t>(value);
      break;
  }
}

// The elements of a CPU tensor of any strides, in row-major order.
inline std::vector<double> ToVector(const View& view) {
  std::vector<double> out;
  out.reserve(view.numel());
  int64_t index[kMaxRank] = {};
  for (int64_t n = view.numel(); n > 0; --n) {
    int64_t offset = 0;
    for (int d = 0; d < view.rank; ++d) offset += index[d] * view.stride[d];
    out.push_back(GetElement(view.data, view.dtype, offset));
    for (int d = view.rank - 1; d >= 0 && ++index[d] == view.shape[d]; --d) index[d] = 0;
  }
  return out;
}

// A contiguous CPU tensor with these elements.
inline Tensor FromVector(DType dtype, absl::Span<const int64_t> shape,
                         const std::vector<double>& values) {
  Tensor out = Tensor::Empty(*CpuContext().allocator, dtype, shape);
  EXPECT_EQ(out.numel(), static_cast<int64_t>(values.size()));
  for (int64_t i = 0; i < out.numel(); ++i) SetElement(out.view().data, dtype, i, values[i]);
  return out;
}
inline Tensor FromVector(DType dtype, std::initializer_list<int64_t> shape,
                         const std::vector<double>& values) {
  return FromVector(dtype, absl::MakeConstSpan(shape.begin(), shape.size()), values);
}

// Normally distributed, times `scale`; the same for the same seed on every machine.
inline Tensor Random(DType dtype, std::initializer_list<int64_t> shape, uint32_t seed,
                     double scale = 1.0) {
  int64_t numel = 1;
  for (const int64_t d : shape) numel *= d;
  std::mt19937 bits(seed);
  std::vector<double> values(numel);
  for (double& v : values) {
    const double u = (bits() + 0.5) * 0x1p-32, w = (bits() + 0.5) * 0x1p-32;
    v = scale * std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * w);
  }
  return FromVector(dtype, shape, values);
}

// Each |got − want| ≤ absolute + relative·|want|; reports the worst element.
inline void ExpectNear(const View& got, const View& want, double relative, double absolute) {
  const std::vector<double> a = ToVector(got), b = ToVector(want);
  ASSERT_EQ(a.size(), b.size());
  double worst = 0;
  size_t where = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double excess = std::abs(a[i] - b[i]) / (absolute + relative * std::abs(b[i]) + 1e-300);
    if (!(excess <= worst)) worst = excess, where = i;
    if (std::isnan(excess)) break;
  }
  EXPECT_LE(worst, 1.0) << "element " << where << " of " << a.size() << ": got " << a[where]
                        << ", want " << b[where];
}

// A tensor between two bands of bytes that nobody may touch, filled with garbage.
class Guarded {
 public:
  Guarded(DType dtype, std::initializer_list<int64_t> shape, bool on_gpu = false) {
    View view = Tensor::Empty(*CpuContext().allocator, dtype, shape).view();
    const Tensor bytes = Tensor::Empty(*CpuContext().allocator, DType::kU8,
                                       {static_cast<int64_t>(view.num_bytes()) + 2 * kBand});
    std::memset(bytes.view().data, kByte, bytes.numel());
    whole_ = on_gpu ? ToGpu(bytes) : bytes;
    view.data = whole_.view().as<uint8_t>() + kBand;
    view.device = whole_.device();
    tensor_ = Tensor::Wrap(view, nullptr);
  }
  ~Guarded() {
    const Tensor whole = whole_.device().type == DeviceType::kCPU ? whole_ : ToCpu(whole_);
    const uint8_t* bytes = whole.view().as<uint8_t>();
    const int64_t size = whole.numel();
    for (int64_t i = 0; i < kBand; ++i) {
      EXPECT_EQ(bytes[i], kByte) << "written before the tensor";
      EXPECT_EQ(bytes[size - 1 - i], kByte) << "written behind the tensor";
    }
  }
  const Tensor& tensor() const { return tensor_; }
  operator const View&() const { return tensor_.view(); }  // NOLINT(google-explicit-constructor)

 private:
  static constexpr int64_t kBand = 256;
  static constexpr uint8_t kByte = 0xA5;
  Tensor whole_, tensor_;
};

class GpuGuarded : public Guarded {
 public:
  GpuGuarded(DType dtype, std::initializer_list<int64_t> shape) : Guarded(dtype, shape, true) {}
};

// The same values as another dtype, on the CPU.
inline Tensor As(DType dtype, const Tensor& x) {
  return FromVector(dtype, absl::MakeConstSpan(x.view().shape, x.rank()), ToVector(x));
}

// Dtypes that CUDA kernels compute in, with what their results may differ by, relative to the
// largest element, from the CPU's f32 results on the same (rounded) inputs: a few units of the last
// place.
struct CudaType {
  DType dtype;
  double tolerance;
};
inline constexpr CudaType kCudaTypes[] = {{DType::kF32, 2e-6}, {DType::kBF16, 1.0 / 128}};

// Compares a GPU result with the CPU's, relative to the largest element wanted.
inline void ExpectMatches(const Tensor& gpu, const View& want, double tolerance) {
  double largest = 0;
  for (const double value : ToVector(want)) largest = std::max(largest, std::abs(value));
  ExpectNear(ToCpu(gpu), want, 0, tolerance * largest + 1e-30);
}

}  // namespace lockstep::kernels
