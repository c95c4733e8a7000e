#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/embedding.h"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

constexpr int kThreads = 128, kPieces = 2;

// blockIdx.x is the token, a thread kPieces times N of its columns.
template <typename From, typename To, int N>
__global__ void __launch_bounds__(kThreads)
    GatherKernel(const int32_t* __restrict__ ids, const From* __restrict__ table, int64_t table_row,
                 float scale, To* __restrict__ y, int64_t y_row, int width) {
  WaitForPredecessors();
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
  WaitForPredecessors();
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

// Block (t, part) owns part of the columns of id v = ids[t] if no earlier token has it, and then
// adds up the rows of all tokens that do, in ascending order; a thread has kPieces times N columns.
// What most blocks need, the row of the first token and the table's, is on its way while ids are
// compared.
template <typename T, typename G, int N>
__global__ void __launch_bounds__(kScatterThreads)
    ScatterKernel(const int32_t* __restrict__ ids, int tokens, const T* __restrict__ dy,
                  int64_t dy_row, float scale, bool accumulate, G* __restrict__ dtable,
                  int64_t table_row, int width) {
  WaitForPredecessors();
  __shared__ uint32_t same[kScatterThreads / 32];  // a bit for each of as many tokens as threads
  const int t = blockIdx.x, id = ids[t];
  G* const to = dtable + id * table_row;
  const auto each = [&](auto&& body) {  // of the thread's pieces: its number and column
#pragma unroll
    for (int k = 0; k < kPieces; ++k) {
      const int c = ((blockIdx.y * kPieces + k) * kScatterThreads + threadIdx.x) * N;
      if (c < width) body(k, c);
    }
  };
  Packed<T, N> row[kPieces];
  Packed<G, N> old[kPieces] = {};
  each([&](int k, int c) {
    row[k] = LoadPacked<T, N>(dy + t * dy_row + c);
    if (accumulate) old[k] = LoadPacked<G, N>(to + c);
  });
  bool earlier = false, later = false;
#pragma unroll 8
  for (int other = threadIdx.x; other < tokens; other += kScatterThreads) {
    const bool match = ids[other] == id;
    earlier |= match && other < t;
    later |= match && other > t;
  }
  if (__syncthreads_or(earlier)) return;
  float sum[kPieces][N];
  const auto add = [&](int k) {
#pragma unroll
    for (int i = 0; i < N; ++i) sum[k][i] += scale * row[k][i];
  };
  each([&](int k, int) {
    Widen(old[k], sum[k]);
    add(k);
  });
  if (__syncthreads_or(later)) {
    for (int begin = t + 1; begin < tokens; begin += kScatterThreads) {
      const int mine = begin + threadIdx.x;
      const bool match = mine < tokens && ids[mine] == id;
      const uint32_t matches = __ballot_sync(0xFFFFFFFFu, match);
      if (threadIdx.x % 32 == 0) same[threadIdx.x / 32] = matches;
      if (!__syncthreads_or(match)) continue;
      for (int word = 0; word < kScatterThreads / 32; ++word) {
        for (uint32_t bits = same[word]; bits != 0; bits &= bits - 1) {
          const int64_t token = begin + word * 32 + __ffs(bits) - 1;
          each([&](int k, int c) {
            row[k] = LoadPacked<T, N>(dy + token * dy_row + c);
            add(k);
          });
        }
      }
      __syncthreads();
    }
  }
  each([&](int k, int c) { Store(to + c, sum[k]); });
}

dim3 Grid(int64_t tokens, int64_t width, int64_t columns_of_block) {
  return dim3(static_cast<unsigned>(tokens), Blocks(width, columns_of_block));
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
      StartKernel(CopyRowsKernel<Word>, {Grid(tokens, words(width), kThreads * kPieces), kThreads},
                  stream, ids.as<int32_t>(), table.as<Word>(), words(table.stride[0]), y.as<Word>(),
                  words(y.stride[0]), static_cast<int>(words(width)));
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
        StartKernel(GatherKernel<From, To, n()>,
                    {Grid(tokens, width, kThreads * kPieces * n()), kThreads}, stream,
                    ids.as<int32_t>(), table.as<From>(), table.stride[0], static_cast<float>(scale),
                    y.as<To>(), y.stride[0], static_cast<int>(width));
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
      using Wider = std::conditional_t<(sizeof(T) > sizeof(G)), T, G>;
      const bool vectors =
          Vectorizable(dy, width, dy.stride[0]) && Vectorizable(dtable, width, dtable.stride[0]);
      DispatchVectors<Wider>(vectors, [&](auto n) {
        StartKernel(ScatterKernel<T, G, n()>,
                    {Grid(tokens, width, kScatterThreads * kPieces * n()), kScatterThreads}, stream,
                    ids.as<int32_t>(), static_cast<int>(tokens), dy.as<T>(), dy.stride[0],
                    static_cast<float>(scale), accumulate, dtable.as<G>(), dtable.stride[0],
                    static_cast<int>(width));
      });
    });
  });
}

}  // namespace lockstep::kernels::cuda
