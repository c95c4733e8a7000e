#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/rope.h"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

// One thread an angle. The angle is the fp32 product; its cosine and sine are taken in double,
// since sincosf loses bits at angles of many thousand radians.
__global__ void RopeTableKernel(const int32_t* __restrict__ positions,
                                const float* __restrict__ inv_freq, const int32_t* __restrict__ row,
                                float attention_factor, int64_t tokens, int64_t pairs,
                                float* __restrict__ table) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= tokens * pairs) return;
  const int64_t token = i / pairs, pair = i % pairs;
  const int64_t r = row != nullptr ? row[token] : 0;
  const float angle = static_cast<float>(positions[token]) * inv_freq[r * pairs + pair];
  double sine, cosine;
  sincos(static_cast<double>(angle), &sine, &cosine);
  table[2 * i] = attention_factor * static_cast<float>(cosine);
  table[2 * i + 1] = attention_factor * static_cast<float>(sine);
}

// One thread N pairs of one head: reads and writes 2·N elements, and 2·N of the table (which the
// heads of a token share through the cache).
template <typename T, int N>
__global__ void RopeKernel(T* x, int64_t token_stride, int64_t head_stride, int64_t heads,
                           int64_t tokens, int64_t pairs, const float* __restrict__ table,
                           float direction) {
  const int64_t groups = pairs / N;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= tokens * heads * groups) return;
  const int64_t group = i % groups, head = i / groups % heads, token = i / groups / heads;
  T* low = x + token * token_stride + head * head_stride + group * N;
  T* high = low + pairs;
  float a[N], b[N];
  Load(low, a);
  Load(high, b);
  const float* angles = table + (token * pairs + group * N) * 2;
#pragma unroll
  for (int j = 0; j < N; ++j) {
    const float cosine = angles[2 * j], sine = direction * angles[2 * j + 1];
    const float first = cosine * a[j] - sine * b[j];
    b[j] = cosine * b[j] + sine * a[j];
    a[j] = first;
  }
  Store(low, a);
  Store(high, b);
}

}  // namespace

void RopeTable(const Stream& stream, const View& positions, const View& inv_freq, const View& row,
               double attention_factor, const View& table) {
  const int64_t tokens = table.shape[0], pairs = table.shape[1];
  if (table.numel() == 0) return;
  if (table.dtype != DType::kF32) Unsupported("rope_table", table);
  RopeTableKernel<<<Blocks(tokens * pairs, 256), 256, 0, Handle(stream)>>>(
      positions.as<int32_t>(), inv_freq.as<float>(), row.as<int32_t>(),
      static_cast<float>(attention_factor), tokens, pairs, table.as<float>());
  LOCKSTEP_CHECK_LAUNCH();
}

void Rope(const Stream& stream, const View& x, const View& table, int direction) {
  const int64_t tokens = x.shape[0], heads = x.shape[1], pairs = table.shape[1];
  if (tokens * heads * pairs == 0) return;
  DispatchType("rope", x, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const auto launch = [&](auto n) {
      RopeKernel<T, n()><<<Blocks(tokens * heads * pairs / n(), 256), 256, 0, Handle(stream)>>>(
          x.as<T>(), x.stride[0], x.stride[1], heads, tokens, pairs, table.as<float>(),
          static_cast<float>(direction));
      LOCKSTEP_CHECK_LAUNCH();
    };
    if (Vectorizable(x, pairs, x.stride[0]) && Vectorizable(x, pairs, x.stride[1])) {
      launch(std::integral_constant<int, kVec<T>>());
    } else {
      launch(std::integral_constant<int, 1>());
    }
  });
}

}  // namespace lockstep::kernels::cuda
