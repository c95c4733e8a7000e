#include <algorithm>

#include "tensor/kernels/cross_entropy.h"
#include "tensor/kernels/device/cross_entropy_rows.cuh"
#include "tensor/kernels/device/launch.cuh"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;           // NOLINT(build/namespaces)
using namespace device::softmax;  // NOLINT(build/namespaces)

constexpr int kThreads = 1024, kWarps = kThreads / 32;

// The general way, one block a row: one pass for maximum and sum together, one that writes the
// gradient. Reads 2·V, writes V elements.
template <typename T, int N, Cap kCap>
__global__ void __launch_bounds__(kThreads) TwoPassKernel(T* logits, const Arguments a) {
  WaitForPredecessors();
  static_assert(kWarps == 32);
  __shared__ PowerSum of_warps[kWarps];
  T* const row = logits + blockIdx.x * a.row_stride;
  const int target = a.targets[blockIdx.x], first = threadIdx.x * N, step = kThreads * N;
  const float target_logit = ToFloat(row[target]);
  float largest = -INFINITY, base = 0, sum = 0;
  for (int c = first; c < a.vocab; c += step) {
    const Packed<T, N> x = LoadPacked<T, N>(row + c);
    const float above = fmaxf(largest, LargestOf(x));
    if (above > largest) {
      const float before = base;
      base = BaseOf<kCap>(above, a);
      if (sum != 0) sum *= Exp2(before - base);
      largest = above;
    }
    float v[N];
    Values<kCap>(x, a, v);
#pragma unroll
    for (int i = 0; i < N; ++i) sum += Power<kCap>(v[i], base, a);
  }
  PowerSum total = WarpTotal<1>({{sum == 0 ? -INFINITY : base, sum}});
  if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = total;
  __syncthreads();
  total = WarpTotal<1>({of_warps[threadIdx.x % 32]});
  if (threadIdx.x == 0) a.nll[blockIdx.x] = Nll<kCap>(target_logit, total, a);
  if (!a.gradient) return;
  const float inverse = a.grad_scale / total.sum;
  for (int c = first; c < a.vocab; c += step) {
    float v[N];
    Values<kCap>(LoadPacked<T, N>(row + c), a, v);
#pragma unroll
    for (int i = 0; i < N; ++i)
      v[i] = Power<kCap>(v[i], total.base, a) * inverse * Slope<kCap>(v[i]);
    StorePacked(row + c, Rounded<T>(v));
  }
  if (target % step / N * N == first) {  // behind the thread's own store
    WriteTarget<kCap>(target_logit, total, a, row + target);
  }
}

// The way for rows that the registers of a cluster hold; false where there is none.
template <typename T, Cap kCap, typename Shape>
bool StartRows(const Stream& stream, const View& logits, const Arguments& arguments) {
  auto* const kernel = &RowKernel<T, kCap, Shape>;
  const unsigned parts = std::max(Blocks(arguments.vocab, Shape::kElements), 2u);
  if (parts > kMostBlocksOfCluster || arguments.vocab < 2 * kVec<T> || !TakesClusters(kernel) ||
      !SharedMemoryFits(Shape::kBytes) ||
      !Vectorizable(logits, arguments.vocab, arguments.row_stride)) {
    return false;
  }
  LaunchSize size = {parts, Shape::kThreads, Shape::kBytes, parts};
  const int clusters = std::min(ClustersAtOnce(kernel, size), arguments.rows);
  if (clusters == 0) return false;
  size.blocks.x *= clusters;
  StartKernel(kernel, size, stream, logits.as<T>(), arguments);
  return true;
}

}  // namespace

void CrossEntropy(const Stream& stream, const View& logits, const View& targets, const View& nll,
                  const CrossEntropyOptions& options) {
  const int64_t rows = logits.shape[0], vocab = logits.shape[1];
  if (rows == 0) return;
  const float cap = static_cast<float>(options.softcap);
  const Arguments arguments = {
      logits.stride[0],      static_cast<int>(rows), static_cast<int>(vocab),
      targets.as<int32_t>(), nll.as<double>(),       cap,
      2 * kLog2E / cap,      cap * kLog2E,           static_cast<float>(options.grad_scale),
      options.gradient};
  DispatchType("cross_entropy", logits, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const auto launch = [&](auto form) {
      if (StartRows<T, form(), RowShape<T, 256>>(stream, logits, arguments) ||
          StartRows<T, form(), RowShape<T, 512>>(stream, logits, arguments)) {
        return;
      }
      DispatchVectors<T>(Vectorizable(logits, vocab, logits.stride[0]), [&](auto n) {
        StartKernel(TwoPassKernel<T, n(), form()>, {static_cast<unsigned>(rows), kThreads}, stream,
                    logits.as<T>(), arguments);
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
