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
  WaitForPredecessors();
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

constexpr int kHeadsEach = 2;

// One thread N pairs of kHeadsEach neighboring heads, which share the table's 2·N cosines and
// sines.
template <typename T, int N>
__global__ void __launch_bounds__(256)
    RopeKernel(T* x, int64_t token_stride, int64_t head_stride, unsigned heads, unsigned threads,
               unsigned pairs, const float* __restrict__ table, float direction) {
  WaitForPredecessors();
  const unsigned i = blockIdx.x * 256 + threadIdx.x;
  if (i >= threads) return;
  const unsigned groups = pairs / N, some_heads = (heads + kHeadsEach - 1) / kHeadsEach;
  const unsigned group = i % groups, head = i / groups % some_heads * kHeadsEach;
  const int64_t token = i / groups / some_heads;
  T* const first = x + token * token_stride + head * head_stride + group * N;
  const auto low = [&](int h) { return first + h * head_stride; };
  Packed<T, N> a[kHeadsEach], b[kHeadsEach];
#pragma unroll
  for (int h = 0; h < kHeadsEach; ++h) {
    if (head + h >= heads) continue;
    a[h] = LoadPacked<T, N>(low(h));
    b[h] = LoadPacked<T, N>(low(h) + pairs);
  }
  constexpr int kRead = N % 2 == 0 ? 4 : 2;  // floats of the table at a time
  float angles[2 * N / kRead][kRead];
#pragma unroll
  for (int j = 0; j < 2 * N / kRead; ++j) {
    Load(table + (token * pairs + group * N) * 2 + j * kRead, angles[j]);
  }
#pragma unroll
  for (int h = 0; h < kHeadsEach; ++h) {
    if (head + h >= heads) continue;
    float to_low[N], to_high[N];
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const float cosine = angles[2 * j / kRead][2 * j % kRead];
      const float sine = direction * angles[2 * j / kRead][2 * j % kRead + 1];
      to_low[j] = cosine * a[h][j] - sine * b[h][j];
      to_high[j] = cosine * b[h][j] + sine * a[h][j];
    }
    StorePacked(low(h), Rounded<T>(to_low));
    StorePacked(low(h) + pairs, Rounded<T>(to_high));
  }
}

}  // namespace

void RopeTable(const Stream& stream, const View& positions, const View& inv_freq, const View& row,
               double attention_factor, const View& table) {
  const int64_t tokens = table.shape[0], pairs = table.shape[1];
  if (table.numel() == 0) return;
  if (table.dtype != DType::kF32) Unsupported("rope_table", table);
  StartKernel(RopeTableKernel, {Blocks(tokens * pairs, 256), 256}, stream, positions.as<int32_t>(),
              inv_freq.as<float>(), row.as<int32_t>(), static_cast<float>(attention_factor), tokens,
              pairs, table.as<float>());
}

void Rope(const Stream& stream, const View& x, const View& table, int direction) {
  const int64_t tokens = x.shape[0], heads = x.shape[1], pairs = table.shape[1];
  if (tokens * heads * pairs == 0) return;
  if (table.dtype != DType::kF32) Unsupported("rope with a table", table);
  DispatchType("rope", x, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const bool vectors = Vectorizable(x, pairs, x.stride[0]) && Vectorizable(x, pairs, x.stride[1]);
    DispatchVectors<T>(vectors, [&](auto n) {
      const int64_t threads = tokens * Blocks(heads, kHeadsEach) * (pairs / n());
      StartKernel(RopeKernel<T, n()>, {Blocks(threads, 256), 256}, stream, x.as<T>(), x.stride[0],
                  x.stride[1], static_cast<unsigned>(heads), static_cast<unsigned>(threads),
                  static_cast<unsigned>(pairs), table.as<float>(), static_cast<float>(direction));
    });
  });
}

}  // namespace lockstep::kernels::cuda
