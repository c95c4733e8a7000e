#include "tensor/kernels/cross_entropy.h"
#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/device/reduce.cuh"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

constexpr int kThreads = 1024;

// One block a row: one pass for maximum and sum together, one that writes the gradient. Reads 2·V,
// writes V elements. Exponentials and each thread's sum in fp32, the total in double.
template <typename T, int N>
__global__ void CrossEntropyKernel(T* logits, int64_t row_stride, int64_t vocab,
                                   const int32_t* __restrict__ targets, double* __restrict__ nll,
                                   float softcap, float grad_scale, bool gradient) {
  __shared__ float scratch[32];
  __shared__ double double_scratch[32];
  __shared__ float target_logit;
  T* row = logits + blockIdx.x * row_stride;
  const int64_t target = targets[blockIdx.x];
  float largest = -INFINITY, sum = 0;
  for (int64_t c = threadIdx.x * N; c < vocab; c += kThreads * N) {
    float v[N];
    Load(row + c, v);
    float above = largest;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (softcap > 0) v[i] = softcap * tanhf(v[i] / softcap);
      above = v[i] > above || v[i] != v[i] ? v[i] : above;  // NaN stays
      if (c + i == target) target_logit = v[i];
    }
    sum *= largest == above ? 1.0f : __expf(largest - above);
    largest = above;
#pragma unroll
    for (int i = 0; i < N; ++i) sum += __expf(v[i] - largest);
  }
  const float highest = BlockMax(largest, -INFINITY, scratch);
  const double part = sum == 0 ? 0.0 : static_cast<double>(sum) * __expf(largest - highest);
  const double total = BlockSum(part, double_scratch);
  if (threadIdx.x == 0) nll[blockIdx.x] = log(total) + highest - target_logit;
  if (!gradient) return;
  const float inverse = static_cast<float>(grad_scale / total);
  for (int64_t c = threadIdx.x * N; c < vocab; c += kThreads * N) {
    float v[N];
    Load(row + c, v);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      float slope = 1;
      if (softcap > 0) {
        const float t = tanhf(v[i] / softcap);
        v[i] = softcap * t;
        slope = 1 - t * t;
      }
      const float probability = __expf(v[i] - highest) * inverse;
      v[i] = (c + i == target ? probability - grad_scale : probability) * slope;
    }
    Store(row + c, v);
  }
}

}  // namespace

void CrossEntropy(const Stream& stream, const View& logits, const View& targets, const View& nll,
                  const CrossEntropyOptions& options) {
  const int64_t rows = logits.shape[0], vocab = logits.shape[1];
  if (rows == 0) return;
  DispatchType("cross_entropy", logits, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const auto launch = [&](auto n) {
      CrossEntropyKernel<T, n()><<<static_cast<unsigned>(rows), kThreads, 0, Handle(stream)>>>(
          logits.as<T>(), logits.stride[0], vocab, targets.as<int32_t>(), nll.as<double>(),
          static_cast<float>(options.softcap), static_cast<float>(options.grad_scale),
          options.gradient);
      LOCKSTEP_CHECK_LAUNCH();
    };
    if (Vectorizable(logits, vocab, logits.stride[0])) {
      launch(std::integral_constant<int, kVec<T>>());
    } else {
      launch(std::integral_constant<int, 1>());
    }
  });
}

}  // namespace lockstep::kernels::cuda
