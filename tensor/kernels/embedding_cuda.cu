#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/embedding.h"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

constexpr int kThreads = 128, kPieces = 4;

// blockIdx.x is the token, a thread kPieces times N of its columns.
template <typename From, typename To, int N>
__global__ void __launch_bounds__(kThreads)
    GatherKernel(const int32_t* __restrict__ ids, const From* __restrict__ table, int64_t table_row,
                 float scale, To* __restrict__ y, int64_t y_row, int width) {
  table += ids[blockIdx.x] * table_row;
  y += blockIdx.x * y_row;
  const int first = (blockIdx.y * kPieces * kThreads + threadIdx.x) * N;
  Packed<From, N> x[kPieces];
#pragma unroll
  for (int k = 0; k < kPieces; ++k) {
    if (const int c = first + k * kThreads * N; c < width) x[k] = LoadPacked<From, N>(table + c);
  }
#pragma unroll
  for (int k = 0; k < kPieces; ++k) {
    float v[N];
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] = x[k][i] * scale;
    if (const int c = first + k * kThreads * N; c < width) Store(y + c, v);
  }
}

// Rows of words, copied as they are: any type.
template <typename Word>
__global__ void __launch_bounds__(kThreads)
    CopyRowsKernel(const int32_t* __restrict__ ids, const Word* __restrict__ table,
                   int64_t table_row, Word* __restrict__ y, int64_t y_row, int width) {
  table += ids[blockIdx.x] * table_row;
  y += blockIdx.x * y_row;
  const int first = blockIdx.y * kPieces * kThreads + threadIdx.x;
  Word x[kPieces];
#pragma unroll
  for (int k = 0; k < kPieces; ++k) {
    if (const int c = first + k * kThreads; c < width) x[k] = table[c];
  }
#pragma unroll
  for (int k = 0; k < kPieces; ++k) {
    if (const int c = first + k * kThreads; c < width) y[c] = x[k];
  }
}

constexpr int kScatterThreads = 256;

// Block t owns id v = ids[t] if no earlier token has it, and then adds up the rows of all tokens
// that do, in ascending order. A thread keeps the sums of its columns in shared memory.
template <typename T, typename G, int N>
__global__ void __launch_bounds__(kScatterThreads)
    ScatterKernel(const int32_t* __restrict__ ids, int tokens, const T* __restrict__ dy,
                  int64_t dy_row, float scale, bool accumulate, G* __restrict__ dtable,
                  int64_t table_row, int width) {
  extern __shared__ __align__(16) float sum[];
  __shared__ uint32_t same[kScatterThreads / 32];  // a bit for each of as many tokens as threads
  const int t = blockIdx.x, id = ids[t];
  bool earlier = false;
#pragma unroll 4
  for (int other = threadIdx.x; other < t; other += kScatterThreads) {
    earlier |= ids[other] == id;
  }
  if (__syncthreads_or(earlier)) return;
  G* const to = dtable + id * table_row;
  const auto each = [&](auto&& body) {  // of the thread's columns
    for (int c = threadIdx.x * N; c < width; c += kScatterThreads * N) body(c);
  };
  const auto add = [&](int64_t token, int c, float(&x)[N]) {
    float more[N];
    Load(dy + token * dy_row + c, more);
#pragma unroll
    for (int i = 0; i < N; ++i) x[i] += scale * more[i];
  };
  each([&](int c) {
    float x[N] = {};
    if (accumulate) Load(to + c, x);
    add(t, c, x);
    Store(sum + c, x);
  });
  for (int begin = t + 1; begin < tokens; begin += kScatterThreads) {
    const int mine = begin + threadIdx.x;
    const bool match = mine < tokens && ids[mine] == id;
    const uint32_t matches = __ballot_sync(0xFFFFFFFFu, match);
    if (threadIdx.x % 32 == 0) same[threadIdx.x / 32] = matches;
    if (!__syncthreads_or(match)) continue;
    for (int word = 0; word < kScatterThreads / 32; ++word) {
      for (uint32_t bits = same[word]; bits != 0; bits &= bits - 1) {
        const int64_t token = begin + word * 32 + __ffs(bits) - 1;
        each([&](int c) {
          float x[N];
          Load(sum + c, x);
          add(token, c, x);
          Store(sum + c, x);
        });
      }
    }
    __syncthreads();
  }
  each([&](int c) {
    float x[N];
    Load(sum + c, x);
    Store(to + c, x);
  });
}

dim3 Grid(int64_t tokens, int64_t width, int n) {
  return dim3(static_cast<unsigned>(tokens), Blocks(width, kThreads * kPieces * n));
}

}  // namespace

void Embedding(const Stream& stream, const View& ids, const View& table, double scale,
               const View& y) {
  const int64_t tokens = y.shape[0], width = y.shape[1];
  if (y.numel() == 0) return;
  if (scale == 1 && table.dtype == y.dtype) {
    const auto copy = [&](auto word) {
      using Word = decltype(word);
      const auto words = [&](int64_t elements) {
        return elements * static_cast<int64_t>(SizeOf(y.dtype)) /
               static_cast<int64_t>(sizeof(Word));
      };
      CopyRowsKernel<<<Grid(tokens, words(width), 1), kThreads, 0, Handle(stream)>>>(
          ids.as<int32_t>(), table.as<Word>(), words(table.stride[0]), y.as<Word>(),
          words(y.stride[0]), static_cast<int>(words(width)));
      LOCKSTEP_CHECK_LAUNCH();
    };
    if (Vectorizable(table, width, table.stride[0]) && Vectorizable(y, width, y.stride[0])) {
      copy(uint4());
    } else if (SizeOf(y.dtype) % 4 == 0) {
      copy(uint32_t());
    } else if (SizeOf(y.dtype) == 2) {
      copy(uint16_t());
    } else {
      copy(uint8_t());
    }
    return;
  }
  DispatchType("embedding", table, [&](auto* from) {
    DispatchType("embedding", y, [&](auto* to) {
      using From = std::remove_pointer_t<decltype(from)>;
      using To = std::remove_pointer_t<decltype(to)>;
      using Wider = std::conditional_t<(sizeof(From) > sizeof(To)), From, To>;
      const bool vectors =
          Vectorizable(table, width, table.stride[0]) && Vectorizable(y, width, y.stride[0]);
      DispatchVectors<Wider>(vectors, [&](auto n) {  // 16 bytes of the wider type
        GatherKernel<From, To, n()><<<Grid(tokens, width, n()), kThreads, 0, Handle(stream)>>>(
            ids.as<int32_t>(), table.as<From>(), table.stride[0], static_cast<float>(scale),
            y.as<To>(), y.stride[0], static_cast<int>(width));
        LOCKSTEP_CHECK_LAUNCH();
      });
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
      const auto launch = [&](auto n) {
        auto* kernel = &ScatterKernel<T, G, n()>;
        const size_t shared = width * sizeof(float);
        if (shared > 48 * 1024) {
          LOCKSTEP_CUDA_CHECK(cudaFuncSetAttribute(
              kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)));
        }
        kernel<<<static_cast<unsigned>(tokens), kScatterThreads, shared, Handle(stream)>>>(
            ids.as<int32_t>(), static_cast<int>(tokens), dy.as<T>(), dy.stride[0],
            static_cast<float>(scale), accumulate, dtable.as<G>(), dtable.stride[0],
            static_cast<int>(width));
        LOCKSTEP_CHECK_LAUNCH();
      };
      if (Vectorizable(dy, width, dy.stride[0]) && Vectorizable(dtable, width, dtable.stride[0])) {
        launch(std::integral_constant<int, 4>());
      } else {
        launch(std::integral_constant<int, 1>());
      }
    });
  });
}

}  // namespace lockstep::kernels::cuda
