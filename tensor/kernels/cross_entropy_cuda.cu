#include "tensor/kernels/cross_entropy.h"
#include "tensor/kernels/device/cluster.cuh"
#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/device/reduce.cuh"
#include "tensor/kernels/device/special_functions.cuh"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

// Exponentials are powers of 2 of l·log₂e, which is rounded once, together with the subtraction of
// the largest. That the constant has 24 bits scales logits by 1 + 10⁻⁸.

// How a soft cap is computed: for bf16 by the special function unit, to 2⁻²² of the cap; for fp32
// as exactly as fp32 can.
enum class Cap { kNone, kFast, kExact };

// l·log₂e = v·Unit(), where v is the logit itself, or tanh(logit / cap).
struct Arguments {
  int64_t row_stride;
  int vocab;
  const int32_t* targets;
  double* nll;
  float cap, to_power, unit, grad_scale;  // to_power = -2 log₂e / cap, unit = cap log₂e
  bool gradient;
};

template <Cap kCap>
__device__ __forceinline__ float Unit(const Arguments& a) {
  return kCap == Cap::kNone ? kLog2E : a.unit;
}

// v of neighboring logits, and l's slopes by the logits. Fast: tanh |x| = (1 - p) / (1 + p), and
// its slope is 4p / (1 + p)², with p = exp -2|x|; two neighbors share a reciprocal, as the special
// function unit is what all wait for.
template <Cap kCap, typename T, int N>
__device__ __forceinline__ void Values(const Packed<T, N>& logits, const Arguments& a,
                                       float (&v)[N], float (&slope)[N]) {
  Widen(logits, v);
  if constexpr (kCap == Cap::kFast) {
    float p[N], inverse[N];
#pragma unroll
    for (int i = 0; i < N; ++i) {
      p[i] = Exp2(fabsf(v[i]) * a.to_power);
      inverse[i] = 1 + p[i];
    }
    if constexpr (N == 1) {
      inverse[0] = Reciprocal(inverse[0]);
    } else {
#pragma unroll
      for (int i = 0; i < N; i += 2) {
        const float of_both = Reciprocal(inverse[i] * inverse[i + 1]), first = inverse[i];
        inverse[i] = of_both * inverse[i + 1];
        inverse[i + 1] = of_both * first;
      }
    }
#pragma unroll
    for (int i = 0; i < N; ++i) {
      v[i] = copysignf((1 - p[i]) * inverse[i], v[i]);
      slope[i] = 4 * p[i] * (inverse[i] * inverse[i]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (kCap == Cap::kExact) v[i] = tanhf(v[i] / a.cap);
      slope[i] = kCap == Cap::kExact ? 1 - v[i] * v[i] : 1;
    }
  }
}

// v of one.
template <Cap kCap>
__device__ __forceinline__ float Value(float logit, const Arguments& a, float* slope) {
  float v[1], slopes[1];
  Values<kCap>(Packed<float, 1>{{logit}}, a, v, slopes);
  *slope = slopes[0];
  return v[0];
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
template <Cap kCap>
struct PowerSum {
  float base, sum = 0;

  __device__ PowerSum(float largest, const Arguments& a) {
    float slope;
    base = largest == -INFINITY ? 0 : Value<kCap>(largest, a, &slope) * Unit<kCap>(a);
  }
  template <typename T, int N>
  __device__ __forceinline__ void Add(const Packed<T, N>& x, const Arguments& a) {
    float v[N], slope[N];
    Values<kCap>(x, a, v, slope);
#pragma unroll
    for (int i = 0; i < N; ++i) sum += Exp2(fmaf(v[i], Unit<kCap>(a), -base));
  }
};

// The sums of all warps of a cluster, in each of its blocks; added in order.
struct RowSum {
  static constexpr int kMostWarps = 8 * 16;  // also the 32 of a block alone
  float base[kMostWarps], sum[kMostWarps];

  // Behind a ClusterArrive(). Sets base to the row's.
  template <Cap kCap>
  __device__ __forceinline__ double Total(const PowerSum<kCap>& mine, float& row_base) {
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
template <Cap kCap>
struct RowResult {
  const Arguments& a;
  float base, inverse;  // grad_scale / total

  __device__ RowResult(const Arguments& arguments, double total, float row_base)
      : a(arguments), base(row_base), inverse(static_cast<float>(a.grad_scale / total)) {}

  __device__ double Nll(double total, float target_logit) const {
    float slope;
    const double v = Value<kCap>(target_logit, a, &slope);
    return (log2(total) + base - v * Unit<kCap>(a)) * kLn2;
  }
  // Of what is not the target.
  template <typename T, int N>
  __device__ __forceinline__ void Write(const Packed<T, N>& x, T* to) const {
    float v[N], slope[N];
    Values<kCap>(x, a, v, slope);
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] = Exp2(fmaf(v[i], Unit<kCap>(a), -base)) * inverse * slope[i];
    StorePacked(to, Rounded<T>(v));
  }
  template <typename T>
  __device__ __forceinline__ void WriteTarget(float logit, T* to) const {
    float slope;
    const float v = Value<kCap>(logit, a, &slope);
    *to = FromFloat<T>((Exp2(fmaf(v, Unit<kCap>(a), -base)) * inverse - a.grad_scale) * slope);
  }
};

constexpr int kRowThreads = 512, kRowPieces = 8;

// A row of logits in the registers of a cluster of blocks: read once, written once. Pieces of a
// row are dealt to the cluster's threads in turn.
template <typename T, Cap kCap>
__global__ void __launch_bounds__(kRowThreads, 2) RowKernel(T* logits, const Arguments a) {
  WaitForPredecessors();
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
  PowerSum<kCap> mine(LargestOf(largest), a);
#pragma unroll
  for (int k = 0; k < kRowPieces; ++k) {
    // Without a cap, what lies beyond the row adds 0.
    if (kCap == Cap::kNone || first + k * step < a.vocab) mine.Add(pieces[k], a);
  }
  float base;
  const double total = row_sum.Total(mine, base);
  const RowResult<kCap> result(a, total, base);
  if (rank == 0 && threadIdx.x == 0) a.nll[row_index] = result.Nll(total, target_logit);
  if (!a.gradient) return;
#pragma unroll
  for (int k = 0; k < kRowPieces; ++k) {
    if (const int c = first + k * step; c < a.vocab) result.Write(pieces[k], row + c);
  }
  if (target % step / N * N == first) {  // behind the thread's own store
    result.WriteTarget(target_logit, row + target);
  }
}

constexpr int kThreads = 1024;

// The general way, one block a row: one pass for maximum and sum together, one that writes the
// gradient. Reads 2·V, writes V elements.
template <typename T, int N, Cap kCap>
__global__ void __launch_bounds__(kThreads) TwoPassKernel(T* logits, const Arguments a) {
  WaitForPredecessors();
  __shared__ RowSum row_sum;
  ClusterArrive();
  T* const row = logits + blockIdx.x * a.row_stride;
  const int target = a.targets[blockIdx.x], first = threadIdx.x * N, step = kThreads * N;
  const float target_logit = ToFloat(row[target]);
  float largest = -INFINITY;
  PowerSum<kCap> mine(largest, a);
  for (int c = first; c < a.vocab; c += step) {
    const Packed<T, N> x = LoadPacked<T, N>(row + c);
    const float above = fmaxf(largest, LargestOf(x));
    if (above > largest) {
      const float sum = mine.sum, base = mine.base;
      mine = PowerSum<kCap>(above, a);
      mine.sum = largest == -INFINITY ? sum : sum * Exp2(base - mine.base);
      largest = above;
    }
    mine.Add(x, a);
  }
  float base;
  const double total = row_sum.Total(mine, base);
  const RowResult<kCap> result(a, total, base);
  if (threadIdx.x == 0) a.nll[blockIdx.x] = result.Nll(total, target_logit);
  if (!a.gradient) return;
  for (int c = first; c < a.vocab; c += step) result.Write(LoadPacked<T, N>(row + c), row + c);
  if (target % step / N * N == first) result.WriteTarget(target_logit, row + target);
}

}  // namespace

void CrossEntropy(const Stream& stream, const View& logits, const View& targets, const View& nll,
                  const CrossEntropyOptions& options) {
  const int64_t rows = logits.shape[0], vocab = logits.shape[1];
  if (rows == 0) return;
  const float cap = static_cast<float>(options.softcap);
  const Arguments arguments = {logits.stride[0],
                               static_cast<int>(vocab),
                               targets.as<int32_t>(),
                               nll.as<double>(),
                               cap,
                               -2 * kLog2E / cap,
                               cap * kLog2E,
                               static_cast<float>(options.grad_scale),
                               options.gradient};
  DispatchType("cross_entropy", logits, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const auto launch = [&](auto form) {
      const bool vectors = Vectorizable(logits, vocab, logits.stride[0]);
      const unsigned blocks = static_cast<unsigned>(rows);
      const unsigned parts = Blocks(vocab, kRowThreads * kRowPieces * kVec<T>);
      auto* const kernel = &RowKernel<T, form()>;
      if (vectors && parts <= (TakesClusters(kernel) ? kMostBlocksOfCluster : 1)) {
        StartKernel(kernel, {blocks * parts, kRowThreads, 0, parts}, stream, logits.as<T>(),
                    arguments);
        return;
      }
      DispatchVectors<T>(vectors, [&](auto n) {
        StartKernel(TwoPassKernel<T, n(), form()>, {blocks, kThreads}, stream, logits.as<T>(),
                    arguments);
      });
    };
    if (options.softcap > 0) {
      launch(std::integral_constant < Cap, std::is_same_v<T, bf16> ? Cap::kFast : Cap::kExact > ());
    } else {
      launch(std::integral_constant<Cap, Cap::kNone>());
    }
  });
}

}  // namespace lockstep::kernels::cuda
