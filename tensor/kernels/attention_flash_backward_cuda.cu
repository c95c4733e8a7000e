#include "tensor/kernels/attention_flash.h"
#include "tensor/kernels/device/flash_attention_backward.cuh"
#include "tensor/kernels/device/flash_attention_launch.cuh"

namespace lockstep::kernels::cuda::flash {
namespace {

using namespace device;         // NOLINT(build/namespaces)
using namespace device::flash;  // NOLINT(build/namespaces)

// Of the shapes that fit, the fastest on an H200 for documents of 4096 tokens; of nearly equal ones
// that with less shared memory.
template <int kDim, Gradients kOf>
struct ShapeOf : std::type_identity<BackwardShape<kDim, 1, 32, 32, 4, kOf>> {};
template <Gradients kOf>
struct ShapeOf<64, kOf> : std::type_identity<BackwardShape<64, 2, 64, 32, 4, kOf>> {};
template <>
struct ShapeOf<64, Gradients::kKeysAndValues>
    : std::type_identity<BackwardShape<64, 2, 64, 16, 4, Gradients::kKeysAndValues>> {};
template <int kDim>
requires(kDim == 96 || kDim == 128) struct ShapeOf<kDim, Gradients::kKeysAndValues>
    : std::type_identity<BackwardShape<kDim, 1, 64, 32, 8, Gradients::kKeysAndValues>> {
};

template <int kDim, Gradients kOf>
void LaunchPass(const Stream& stream, const BackwardArguments& arguments) {
  using S = typename ShapeOf<kDim, kOf>::type;
  const Problem& p = arguments.problem;
  Launch<S>(stream, &BackwardKernel<S>, arguments, S::kRowsAreKeys ? p.rows_k : p.rows_q,
            S::kRowsAreKeys ? p.kv_heads : p.heads);
}

// delta[i] = <dout[i], out[i]>, [Tq, H]: kLanes threads a row and head, 8 elements each.
template <int kLanes>
__global__ void __launch_bounds__(256) DeltaKernel(Problem p, Heads dout, Heads out, float* delta) {
  WaitForPredecessors();
  const int64_t place = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / kLanes;
  const int at = threadIdx.x % kLanes * 8;
  float sum = 0;
  if (place < p.rows_q * p.heads && at < p.dim) {
    const int64_t row = place / p.heads, head = place % p.heads;
    float x[8], y[8];
    Load(dout.At<bf16>(row, head) + at, x);
    Load(out.At<bf16>(row, head) + at, y);
#pragma unroll
    for (int i = 0; i < 8; ++i) sum += x[i] * y[i];
  }
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    sum += __shfl_xor_sync(0xFFFFFFFFu, sum, offset);
  }
  if (place < p.rows_q * p.heads && at == 0) delta[place] = sum;
}

template <int kDim>
void LaunchDelta(const Stream& stream, const Problem& p, const View& dout, const View& out,
                 float* delta) {
  constexpr int kLanes = kDim == 64 ? 8 : kDim <= 128 ? 16 : 32, kThreads = 256;
  StartKernel(DeltaKernel<kLanes>, {Blocks(p.rows_q * p.heads, kThreads / kLanes), kThreads},
              stream, p, Heads(dout), Heads(out), delta);
}

}  // namespace

void AttentionBackward(const Stream& stream, const View& dout, const View& q, const View& k,
                       const View& v, const View& out, const View& lse,
                       const PackedDocuments& documents, const AttentionOptions& options,
                       const View& dq, const View& dk, const View& dv, float* delta) {
  const Problem problem = attention::MakeProblem(q, k, documents, options);
  const BackwardArguments of_queries = {problem,
                                        {Heads(q), Heads(dout)},
                                        {Heads(k), Heads(v)},
                                        {Heads(dq), Heads(dq)},
                                        lse.as<float>(),
                                        delta};
  const BackwardArguments of_keys = {problem,
                                     {Heads(k), Heads(v)},
                                     {Heads(q), Heads(dout)},
                                     {Heads(dk), Heads(dv)},
                                     lse.as<float>(),
                                     delta};
  DispatchDim(q.shape[2], [&](auto dim) {
    constexpr int kDim = dim();
    LaunchDelta<kDim>(stream, problem, dout, out, delta);
    LaunchPass<kDim, Gradients::kQueries>(stream, of_queries);
    if constexpr (kDim <= 128) {
      LaunchPass<kDim, Gradients::kKeysAndValues>(stream, of_keys);
    } else {
      LaunchPass<kDim, Gradients::kKeys>(stream, of_keys);
      LaunchPass<kDim, Gradients::kValues>(stream, of_keys);
    }
  });
}

}  // namespace lockstep::kernels::cuda::flash
