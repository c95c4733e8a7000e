// A row is a block: 16 bytes of x a piece, read once and kept in registers between the pass for the
// largest magnitude and that for the codes. Factors are read in both: the blocks of a
// multiprocessor find them in its cache.

#include <cuda_fp8.h>

#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/e4m3.h"
#include "tensor/kernels/quantize.h"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

constexpr int kPiece = 8, kMostThreads = 1024;

// x as it is read once: out of the way of what caches keep.
__device__ __forceinline__ Packed<bf16, kPiece> LoadOnce(const bf16* from) {
  const uint4 bits = __ldcs(reinterpret_cast<const uint4*>(from));
  return {{bits.x, bits.y, bits.z, bits.w}};
}

template <bool kHasFactors>
__device__ __forceinline__ void Scaled(const Packed<bf16, kPiece>& x, const float* factors,
                                       float (&to)[kPiece]) {
  Widen(x, to);
  if constexpr (kHasFactors) {
    float factor[kPiece];
    Load(factors, factor);
#pragma unroll
    for (int i = 0; i < kPiece; ++i) to[i] *= factor[i];
  }
}

// The largest over all threads of the block, in every thread; not negative, so that floats are
// ordered as their bits are.
__device__ __forceinline__ float BlockMax(float x) {
  __shared__ uint32_t of_warp[kMostThreads / 32];
  const int lane = threadIdx.x % 32, warps = blockDim.x / 32;
  const uint32_t most = __reduce_max_sync(0xFFFFFFFFu, __float_as_uint(x));
  if (lane == 0) of_warp[threadIdx.x / 32] = most;
  __syncthreads();
  return __uint_as_float(__reduce_max_sync(0xFFFFFFFFu, lane < warps ? of_warp[lane] : 0u));
}

template <int kPieces, bool kHasFactors>
__global__ void __launch_bounds__(kMostThreads)
    Quantize(const bf16* __restrict__ x, int64_t stride, int pieces,
             const float* __restrict__ factors, uint8_t* __restrict__ codes,
             float* __restrict__ scales) {
  WaitForPredecessors();
  x += blockIdx.x * stride;
  Packed<bf16, kPiece> kept[kPieces];
#pragma unroll
  for (int p = 0; p < kPieces; ++p) {
    const int piece = p * blockDim.x + threadIdx.x;
    if (piece < pieces) kept[p] = LoadOnce(x + piece * kPiece);
  }
  float value[kPiece], largest = 0;
#pragma unroll
  for (int p = 0; p < kPieces; ++p) {
    const int piece = p * blockDim.x + threadIdx.x;
    if (piece >= pieces) break;
    Scaled<kHasFactors>(kept[p], factors + piece * kPiece, value);
#pragma unroll
    for (float v : value) largest = fmaxf(largest, fabsf(v));  // passes over NaN
  }
  const float scale = fmaxf(BlockMax(largest), kLeastMagnitude) / kLargestE4m3;
  const float inverse = 1 / scale;
  codes += static_cast<int64_t>(blockIdx.x) * pieces * kPiece;
#pragma unroll
  for (int p = 0; p < kPieces; ++p) {
    const int piece = p * blockDim.x + threadIdx.x;
    if (piece >= pieces) break;
    Scaled<kHasFactors>(kept[p], factors + piece * kPiece, value);
    uint16_t pairs[kPiece / 2];
#pragma unroll
    for (int i = 0; i < kPiece; i += 2) {
      pairs[i / 2] = __nv_cvt_float2_to_fp8x2({value[i] * inverse, value[i + 1] * inverse},
                                              __NV_SATFINITE, __NV_E4M3);
    }
    reinterpret_cast<uint2*>(codes)[piece] = {pairs[0] | static_cast<uint32_t>(pairs[1]) << 16,
                                              pairs[2] | static_cast<uint32_t>(pairs[3]) << 16};
  }
  if (threadIdx.x == 0) scales[blockIdx.x] = scale;
}

template <int kPieces>
void LaunchRows(const Stream& stream, const View& x, const View& factors, const ScaledRows& to) {
  const int pieces = static_cast<int>(x.shape[1] / kPiece);
  const unsigned rows = static_cast<unsigned>(x.shape[0]);
  const unsigned threads = Blocks(pieces, kPieces * 32) * 32;
  const auto kernel = factors.rank != 0 ? Quantize<kPieces, true> : Quantize<kPieces, false>;
  StartKernel(kernel, {rows, threads}, stream, x.as<bf16>(), x.stride[0], pieces,
              factors.as<float>(), to.codes.as<uint8_t>(), to.scales.as<float>());
}

constexpr int kTile = 32, kTileRows = 8;

__global__ void Transpose(const uint8_t* __restrict__ x, int64_t rows, int64_t columns,
                          uint8_t* __restrict__ to) {
  WaitForPredecessors();
  __shared__ uint8_t tile[kTile][kTile + 1];
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kTile,
                row = static_cast<int64_t>(blockIdx.y) * kTile;
  for (int i = threadIdx.y; i < kTile; i += kTileRows) {
    if (row + i < rows && column + threadIdx.x < columns) {
      tile[i][threadIdx.x] = x[(row + i) * columns + column + threadIdx.x];
    }
  }
  __syncthreads();
  for (int i = threadIdx.y; i < kTile; i += kTileRows) {
    if (column + i < columns && row + threadIdx.x < rows) {
      to[(column + i) * rows + row + threadIdx.x] = tile[threadIdx.x][i];
    }
  }
}

}  // namespace

void QuantizeRows(const Stream& stream, const View& x, const View& factors, const ScaledRows& to) {
  if (!HasBf16Rows(x) || x.shape[1] > int64_t{16} * kPiece * kMostThreads) {
    Unsupported("quantize, rows that are not aligned, or too long, of", x);
  }
  if (x.shape[1] <= int64_t{4} * kPiece * kMostThreads) {
    LaunchRows<4>(stream, x, factors, to);
  } else {
    LaunchRows<16>(stream, x, factors, to);
  }
}

void TransposeCodes(const Stream& stream, const View& codes, const View& to) {
  const dim3 grid(Blocks(codes.shape[1], kTile), Blocks(codes.shape[0], kTile));
  StartKernel(Transpose, {grid, dim3(kTile, kTileRows)}, stream, codes.as<uint8_t>(),
              codes.shape[0], codes.shape[1], to.as<uint8_t>());
}

}  // namespace lockstep::kernels::cuda
