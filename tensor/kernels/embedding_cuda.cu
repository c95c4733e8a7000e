#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/embedding.h"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

// blockIdx.x is the token, a thread N of its columns.
template <typename From, typename To, int N>
__global__ void GatherKernel(const int32_t* __restrict__ ids, const From* __restrict__ table,
                             int64_t table_row, float scale, To* __restrict__ y, int64_t y_row,
                             int64_t width) {
  const int64_t column = (static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x) * N;
  if (column >= width) return;
  float v[N];
  Load(table + ids[blockIdx.x] * table_row + column, v);
#pragma unroll
  for (int i = 0; i < N; ++i) v[i] *= scale;
  Store(y + blockIdx.x * y_row + column, v);
}

// Rows of 4-byte words, copied as they are: any type.
__global__ void CopyRowsKernel(const int32_t* __restrict__ ids, const uint32_t* __restrict__ table,
                               int64_t table_row, uint32_t* __restrict__ y, int64_t y_row,
                               int64_t width) {
  const int64_t column = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
  if (column < width) y[blockIdx.x * y_row + column] = table[ids[blockIdx.x] * table_row + column];
}

// Block t owns id v = ids[t] if no earlier token has it, and then adds up the rows of all tokens
// that do, in ascending order, in shared memory.
template <typename T, typename G>
__global__ void ScatterKernel(const int32_t* __restrict__ ids, int64_t tokens,
                              const T* __restrict__ dy, int64_t dy_row, float scale,
                              bool accumulate, G* __restrict__ dtable, int64_t table_row,
                              int64_t width) {
  extern __shared__ float sum[];
  const int64_t t = blockIdx.x;
  const int32_t id = ids[t];
  bool earlier = false;
  for (int64_t other = threadIdx.x; other < t; other += blockDim.x) {
    earlier = earlier || ids[other] == id;
  }
  if (__syncthreads_or(earlier)) return;
  G* to = dtable + id * table_row;
  for (int64_t c = threadIdx.x; c < width; c += blockDim.x)
    sum[c] = accumulate ? ToFloat(to[c]) : 0;
  __shared__ bool same[256];
  for (int64_t begin = t; begin < tokens; begin += blockDim.x) {
    const int64_t mine = begin + threadIdx.x;
    const bool match = mine < tokens && ids[mine] == id;
    same[threadIdx.x] = match;
    if (!__syncthreads_or(match)) continue;
    for (int64_t n = 0; n < blockDim.x; ++n) {
      if (!same[n]) continue;
      for (int64_t c = threadIdx.x; c < width; c += blockDim.x) {
        sum[c] += scale * ToFloat(dy[(begin + n) * dy_row + c]);
      }
    }
    __syncthreads();
  }
  for (int64_t c = threadIdx.x; c < width; c += blockDim.x) to[c] = FromFloat<G>(sum[c]);
}

dim3 Grid(int64_t tokens, int64_t width, int n) {
  return dim3(static_cast<unsigned>(tokens), Blocks(width, 256 * n));
}

}  // namespace

void Embedding(const Stream& stream, const View& ids, const View& table, double scale,
               const View& y) {
  const int64_t tokens = y.shape[0], width = y.shape[1];
  if (y.numel() == 0) return;
  const int64_t words = SizeOf(y.dtype) / 4;
  if (scale == 1 && table.dtype == y.dtype && words > 0) {
    CopyRowsKernel<<<Grid(tokens, width * words, 1), 256, 0, Handle(stream)>>>(
        ids.as<int32_t>(), table.as<uint32_t>(), table.stride[0] * words, y.as<uint32_t>(),
        y.stride[0] * words, width * words);
    LOCKSTEP_CHECK_LAUNCH();
    return;
  }
  DispatchType("embedding", table, [&](auto* from) {
    DispatchType("embedding", y, [&](auto* to) {
      using From = std::remove_pointer_t<decltype(from)>;
      using To = std::remove_pointer_t<decltype(to)>;
      const auto launch = [&](auto n) {
        GatherKernel<From, To, n()><<<Grid(tokens, width, n()), 256, 0, Handle(stream)>>>(
            ids.as<int32_t>(), table.as<From>(), table.stride[0], static_cast<float>(scale),
            y.as<To>(), y.stride[0], width);
        LOCKSTEP_CHECK_LAUNCH();
      };
      if (Vectorizable(table, width, table.stride[0]) && Vectorizable(y, width, y.stride[0])) {
        launch(std::integral_constant<int, 4>());
      } else {
        launch(std::integral_constant<int, 1>());
      }
    });
  });
}

void EmbeddingBackward(const Stream& stream, const View& ids, const View& dy, double scale,
                       bool accumulate, const View& dtable) {
  const int64_t tokens = dy.shape[0], width = dy.shape[1];
  if (!accumulate && dtable.numel() > 0) {
    const size_t bytes = SizeOf(dtable.dtype);
    LOCKSTEP_CUDA_CHECK(cudaMemset2DAsync(dtable.data, dtable.stride[0] * bytes, 0, width * bytes,
                                          dtable.shape[0], Handle(stream)));
  }
  if (dy.numel() == 0) return;
  DispatchType("embedding", dy, [&](auto* from) {
    DispatchType("embedding", dtable, [&](auto* to) {
      using T = std::remove_pointer_t<decltype(from)>;
      using G = std::remove_pointer_t<decltype(to)>;
      auto* kernel = &ScatterKernel<T, G>;
      const size_t shared = width * sizeof(float);
      if (shared > 48 * 1024) {
        LOCKSTEP_CUDA_CHECK(cudaFuncSetAttribute(
            kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)));
      }
      kernel<<<static_cast<unsigned>(tokens), 256, shared, Handle(stream)>>>(
          ids.as<int32_t>(), tokens, dy.as<T>(), dy.stride[0], static_cast<float>(scale),
          accumulate, dtable.as<G>(), dtable.stride[0], width);
      LOCKSTEP_CHECK_LAUNCH();
    });
  });
}

}  // namespace lockstep::kernels::cuda
