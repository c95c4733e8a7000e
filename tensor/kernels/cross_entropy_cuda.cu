#include "tensor/kernels/cross_entropy.h"
#include "tensor/kernels/device/cluster.cuh"
#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/device/reduce.cuh"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

// Exponentials are powers of 2 of l·log₂e, which is rounded once, together with the subtraction of
// the largest. That the constant has 24 bits scales logits by 1 + 10⁻⁸.
constexpr float kLog2E = 1.4426950408889634f;
constexpr double kLn2 = 0.6931471805599453;

__device__ __forceinline__ float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

struct Arguments {
  int64_t row_stride;
  int vocab;
  const int32_t* targets;
  double* nll;
  float softcap, grad_scale;
  bool gradient;
};

// l, and its slope by the logit.
template <bool kCapped>
__device__ __forceinline__ float Capped(float logit, float cap, float* slope) {
  *slope = 1;
  if constexpr (kCapped) {
    const float t = tanhf(logit / cap);
    *slope = 1 - t * t;
    return cap * t;
  } else {
    return logit;
  }
}

// The largest of each element's place in two vectors.
template <typename T, int N>
__device__ __forceinline__ Packed<T, N> Larger(Packed<T, N> a, const Packed<T, N>& b) {
  if constexpr (std::is_same_v<T, bf16> && N % 2 == 0) {
#pragma unroll
    for (int i = 0; i < N / 2; ++i) a.pair[i] = LargerPair(a.pair[i], b.pair[i]);
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) a.v[i] = FromFloat<T>(fmaxf(a[i], b[i]));
  }
  return a;
}

template <typename T, int N>
__device__ __forceinline__ float LargestOf(const Packed<T, N>& x) {
  float largest = x[0];
#pragma unroll
  for (int i = 1; i < N; ++i) largest = fmaxf(largest, x[i]);
  return largest;
}

// Σ 2^(l·log₂e − base) over some elements; base is their largest l·log₂e, or 0 where there is
// nothing. A NaN shows in the sum.
struct PowerSum {
  float base, sum = 0;

  template <bool kCapped>
  __device__ static PowerSum Below(float largest, float cap) {
    float slope;
    return {largest == -INFINITY ? 0 : Capped<kCapped>(largest, cap, &slope) * kLog2E};
  }
  template <bool kCapped, typename T, int N>
  __device__ __forceinline__ void Add(const Packed<T, N>& x, float cap) {
    float slope;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      sum += Exp2(fmaf(Capped<kCapped>(x[i], cap, &slope), kLog2E, -base));
    }
  }
};

// The sums of all warps of a cluster, in each of its blocks; added in order.
struct RowSum {
  static constexpr int kMostWarps = 8 * 16;  // also the 32 of a block alone
  float base[kMostWarps], sum[kMostWarps];

  // Behind a ClusterArrive(). Sets base to the row's.
  __device__ __forceinline__ double Total(const PowerSum& mine, float& row_base) {
    const int lane = threadIdx.x % 32, warps = blockDim.x / 32, parts = ClusterSize();
    const int at = ClusterRank() * warps + threadIdx.x / 32;
    // What has nothing, as beyond a row, has no say in the base either.
    const float warp_base = WarpMax(mine.sum == 0 ? -INFINITY : mine.base);
    const float warp_sum = WarpSum(mine.sum == 0 ? 0.0f : mine.sum * Exp2(mine.base - warp_base));
    ClusterWait();  // all blocks have begun
    if (lane < parts) {
      StoreToBlock(&base[at], lane, warp_base);
      StoreToBlock(&sum[at], lane, warp_sum);
    }
    ClusterArrive();
    ClusterWait();
    row_base = base[0];
#pragma unroll 1
    for (int w = lane; w < parts * warps; w += 32) row_base = fmaxf(row_base, base[w]);
    row_base = WarpMax(row_base);
    double total = 0;
#pragma unroll 1
    for (int w = lane; w < parts * warps; w += 32) {
      if (sum[w] != 0) total += static_cast<double>(sum[w] * Exp2(base[w] - row_base));
    }
    return WarpSum(total);
  }
};

// The row's NLL and gradient, once its total is known.
template <typename T, bool kCapped>
struct RowGradient {
  float base, inverse, softcap;

  template <int N>
  __device__ __forceinline__ void Write(const Packed<T, N>& x, T* to) const {
    float d[N];
#pragma unroll
    for (int i = 0; i < N; ++i) d[i] = Of(x[i], 0);
    StorePacked(to, Rounded<T>(d));
  }
  // hit: grad_scale at the target.
  __device__ __forceinline__ float Of(float logit, float hit) const {
    float slope;
    const float l = Capped<kCapped>(logit, softcap, &slope);
    return (Exp2(fmaf(l, kLog2E, -base)) * inverse - hit) * slope;
  }
};

template <bool kCapped>
__device__ double Nll(double total, float base, float target_logit, float cap) {
  float slope;
  const double l = Capped<kCapped>(target_logit, cap, &slope);
  return (log2(total) + base - l * kLog2E) * kLn2;
}

constexpr int kRowThreads = 512, kRowPieces = 8;

// A row of logits in the registers of a cluster of blocks: read once, written once. Pieces of a
// row are dealt to the cluster's threads in turn.
template <typename T, bool kCapped>
__global__ void __launch_bounds__(kRowThreads, 2) RowKernel(T* logits, const Arguments a) {
  constexpr int N = kVec<T>;
  __shared__ RowSum row_sum;
  ClusterArrive();
  const int parts = ClusterSize(), rank = ClusterRank(), row_index = blockIdx.x / parts;
  T* const row = logits + row_index * a.row_stride;
  const int first = (rank * kRowThreads + threadIdx.x) * N, step = parts * kRowThreads * N;
  float nothing[N];
#pragma unroll
  for (int i = 0; i < N; ++i) nothing[i] = -INFINITY;
  Packed<T, N> pieces[kRowPieces];
#pragma unroll
  for (int k = 0; k < kRowPieces; ++k) {
    const int c = first + k * step;
    pieces[k] = c < a.vocab ? LoadPacked<T, N>(row + c) : Rounded<T>(nothing);
  }
  const int target = a.targets[row_index];
  const float target_logit = ToFloat(row[target]);  // before any block writes
  Packed<T, N> largest = pieces[0];
#pragma unroll
  for (int k = 1; k < kRowPieces; ++k) largest = Larger(largest, pieces[k]);
  PowerSum mine = PowerSum::Below<kCapped>(LargestOf(largest), a.softcap);
#pragma unroll
  for (int k = 0; k < kRowPieces; ++k) {
    // Without a cap, what lies beyond the row adds 0.
    if (!kCapped || first + k * step < a.vocab) mine.Add<kCapped>(pieces[k], a.softcap);
  }
  float base;
  const double total = row_sum.Total(mine, base);
  if (rank == 0 && threadIdx.x == 0) {
    a.nll[row_index] = Nll<kCapped>(total, base, target_logit, a.softcap);
  }
  if (!a.gradient) return;
  const RowGradient<T, kCapped> gradient = {base, static_cast<float>(a.grad_scale / total),
                                            a.softcap};
#pragma unroll
  for (int k = 0; k < kRowPieces; ++k) {
    if (const int c = first + k * step; c < a.vocab) gradient.Write(pieces[k], row + c);
  }
  if (target % step / N * N == first) {  // behind the thread's own store
    row[target] = FromFloat<T>(gradient.Of(target_logit, a.grad_scale));
  }
}

constexpr int kThreads = 1024;

// The general way, one block a row: one pass for maximum and sum together, one that writes the
// gradient. Reads 2·V, writes V elements.
template <typename T, int N, bool kCapped>
__global__ void __launch_bounds__(kThreads) TwoPassKernel(T* logits, const Arguments a) {
  __shared__ RowSum row_sum;
  ClusterArrive();
  T* const row = logits + blockIdx.x * a.row_stride;
  const int target = a.targets[blockIdx.x], first = threadIdx.x * N, step = kThreads * N;
  const float target_logit = ToFloat(row[target]);
  float largest = -INFINITY;
  PowerSum mine = PowerSum::Below<kCapped>(largest, a.softcap);
  for (int c = first; c < a.vocab; c += step) {
    const Packed<T, N> x = LoadPacked<T, N>(row + c);
    const float above = fmaxf(largest, LargestOf(x));
    if (above > largest) {
      const float sum = mine.sum, base = mine.base;
      mine = PowerSum::Below<kCapped>(above, a.softcap);
      mine.sum = largest == -INFINITY ? sum : sum * Exp2(base - mine.base);
      largest = above;
    }
    mine.Add<kCapped>(x, a.softcap);
  }
  float base;
  const double total = row_sum.Total(mine, base);
  if (threadIdx.x == 0) a.nll[blockIdx.x] = Nll<kCapped>(total, base, target_logit, a.softcap);
  if (!a.gradient) return;
  const RowGradient<T, kCapped> gradient = {base, static_cast<float>(a.grad_scale / total),
                                            a.softcap};
  for (int c = first; c < a.vocab; c += step) gradient.Write(LoadPacked<T, N>(row + c), row + c);
  if (target % step / N * N == first) {
    row[target] = FromFloat<T>(gradient.Of(target_logit, a.grad_scale));
  }
}

}  // namespace

void CrossEntropy(const Stream& stream, const View& logits, const View& targets, const View& nll,
                  const CrossEntropyOptions& options) {
  const int64_t rows = logits.shape[0], vocab = logits.shape[1];
  if (rows == 0) return;
  const Arguments arguments = {logits.stride[0],
                               static_cast<int>(vocab),
                               targets.as<int32_t>(),
                               nll.as<double>(),
                               static_cast<float>(options.softcap),
                               static_cast<float>(options.grad_scale),
                               options.gradient};
  DispatchType("cross_entropy", logits, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const auto launch = [&](auto capped) {
      const bool vectors = Vectorizable(logits, vocab, logits.stride[0]);
      const unsigned blocks = static_cast<unsigned>(rows);
      const unsigned parts = Blocks(vocab, kRowThreads * kRowPieces * kVec<T>);
      auto* const kernel = &RowKernel<T, capped()>;
      if (vectors && parts <= (TakesClusters(kernel) ? kMostBlocksOfCluster : 1)) {
        LaunchClusters(kernel, parts, blocks * parts, kRowThreads, 0, stream, logits.as<T>(),
                       arguments);
        return;
      }
      DispatchVectors<T>(vectors, [&](auto n) {
        TwoPassKernel<T, n(), capped()>
            <<<blocks, kThreads, 0, Handle(stream)>>>(logits.as<T>(), arguments);
        LOCKSTEP_CHECK_LAUNCH();
      });
    };
    if (options.softcap > 0) {
      launch(std::true_type());
    } else {
      launch(std::false_type());
    }
  });
}

}  // namespace lockstep::kernels::cuda
