// Three ways to the same result. attention_cudnn.h takes what it can (bf16, no soft cap, training's
// shapes, some GPUs) at the speed of the hardware; attention_flash.h other bf16, on any GPU from
// compute capability 8.0 on. The kernels below take everything else, f32 above all: plain,
// deterministic, many times slower.
//
// Layout of the plain kernels: a warp owns one output row of one head and goes through the rows
// that it sees 32 at a time; lane l computes the score of row j + l, then all lanes add up the 32
// rows, each lane its own elements of the head. Sums run in ascending j (dk and dv: head by head,
// then ascending i), so bits depend on the document alone.

#include <algorithm>

#include "tensor/kernels/attention.h"
#include "tensor/kernels/attention_cudnn.h"
#include "tensor/kernels/attention_flash.h"
#include "tensor/kernels/attention_graph.h"
#include "tensor/kernels/device/attention.cuh"
#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/device/reduce.cuh"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;             // NOLINT(build/namespaces)
using namespace device::attention;  // NOLINT(build/namespaces)

constexpr int kMaxHead = 256;            // elements of a head
constexpr int kPerLane = kMaxHead / 32;  // of which a lane owns every 32nd
constexpr int kWarps = 4;                // of a block

// In ascending d, whichever way they are loaded.
template <typename T>
__device__ float Dot(const T* a, const T* b, int64_t dim) {
  constexpr int kN = kVec<T>;
  float sum = 0;
  int64_t d = 0;
  if ((reinterpret_cast<uintptr_t>(a) | reinterpret_cast<uintptr_t>(b)) % 16 == 0) {
#pragma unroll 8
    for (; d + kN <= dim; d += kN) {
      float x[kN], y[kN];
      Load(a + d, x);
      Load(b + d, y);
      for (int i = 0; i < kN; ++i) sum += x[i] * y[i];
    }
  }
  for (; d < dim; ++d) sum += ToFloat(a[d]) * ToFloat(b[d]);
  return sum;
}

// cap(z), and its derivative.
__device__ float Cap(float z, float softcap, float& slope) {
  slope = 1;
  if (softcap == 0) return z;
  const float t = tanhf(z / softcap);
  slope = 1 - t * t;
  return softcap * t;
}

// The keys [first, last) that query row r sees.
struct Range {
  int64_t first, last;
};
__device__ Range KeysOf(const Problem& p, int64_t document, int64_t r) {
  const int64_t begin = p.starts_k[document], end = p.starts_k[document + 1];
  const int64_t place =
      r - p.starts_q[document + 1] + end;  // row of the key with the same position
  const int64_t first = p.window > 0 ? max(begin, place - p.window + 1) : begin;
  return {first, place + 1};
}

// kOwn: elements of a head that a lane owns, at most.
template <typename T, int kOwn>
__global__ void ForwardKernel(Problem p, Heads q, Heads k, Heads v, Heads out, float* lse) {
  WaitForPredecessors();
  const int64_t row = blockIdx.x, head = blockIdx.y * kWarps + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (head >= p.heads) return;
  const int64_t document = DocumentOf(p.starts_q, p.documents, row);
  float sum[kOwn] = {}, largest = -INFINITY, total = 0;
  if (document < p.documents) {
    const int64_t kv = head / (p.heads / p.kv_heads);
    const Range keys = KeysOf(p, document, row);
    for (int64_t j = keys.first; j < keys.last; j += 32) {
      float slope, score = -INFINITY;
      if (j + lane < keys.last) {
        score =
            Cap(p.scale * Dot(q.At<T>(row, head), k.At<T>(j + lane, kv), p.dim), p.softcap, slope);
      }
      const float above = fmaxf(largest, WarpMax(score));
      const float shrink = __expf(largest - above), weight = __expf(score - above);
      largest = above;
      total = total * shrink + WarpSum(weight);
      for (int i = 0; i < kOwn; ++i) sum[i] *= shrink;
      const int count = static_cast<int>(min(int64_t{32}, keys.last - j));
#pragma unroll 8
      for (int n = 0; n < count; ++n) {
        const float w = __shfl_sync(0xFFFFFFFFu, weight, n);
        const T* value = v.At<T>(j + n, kv);
        for (int i = 0; i < kOwn; ++i) {
          if (i * 32 + lane < p.dim) sum[i] += w * ToFloat(value[i * 32 + lane]);
        }
      }
    }
  }
  T* to = out.At<T>(row, head);
  for (int i = 0; i < kOwn; ++i) {
    if (i * 32 + lane < p.dim) to[i * 32 + lane] = FromFloat<T>(total > 0 ? sum[i] / total : 0.0f);
  }
  if (lse != nullptr && lane == 0) {
    lse[row * p.heads + head] = total > 0 ? largest + logf(total) : 0.0f;
  }
}

// delta[i] = <dout[i], out[i]>, [Tq, H].
template <typename T>
__global__ void DeltaKernel(Problem p, Heads dout, Heads out, float* delta) {
  WaitForPredecessors();
  const int64_t row = blockIdx.x, head = blockIdx.y * kWarps + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (head >= p.heads) return;
  float sum = 0;
  for (int64_t d = lane; d < p.dim; d += 32) {
    sum += ToFloat(dout.At<T>(row, head)[d]) * ToFloat(out.At<T>(row, head)[d]);
  }
  sum = WarpSum(sum);
  if (lane == 0) delta[row * p.heads + head] = sum;
}

// p[i, j] and ds[i, j] of query row i, key row j.
struct Weights {
  float probability, gradient;
};
template <typename T>
__device__ Weights PairWeights(const Problem& p, const T* q, const T* k, const T* v, const T* dout,
                               float lse, float delta) {
  float slope;
  const float score = Cap(p.scale * Dot(q, k, p.dim), p.softcap, slope);
  const float probability = __expf(score - lse);
  return {probability, probability * (Dot(dout, v, p.dim) - delta) * slope * p.scale};
}

template <typename T>
__global__ void QueryGradientKernel(Problem p, Heads q, Heads k, Heads v, Heads dout,
                                    const float* lse, const float* delta, Heads dq) {
  WaitForPredecessors();
  const int64_t row = blockIdx.x, head = blockIdx.y * kWarps + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (head >= p.heads) return;
  const int64_t document = DocumentOf(p.starts_q, p.documents, row);
  float sum[kPerLane] = {};
  if (document < p.documents) {
    const int64_t kv = head / (p.heads / p.kv_heads);
    const Range keys = KeysOf(p, document, row);
    for (int64_t j = keys.first; j < keys.last; j += 32) {
      float gradient = 0;
      if (j + lane < keys.last) {
        gradient = PairWeights(p, q.At<T>(row, head), k.At<T>(j + lane, kv), v.At<T>(j + lane, kv),
                               dout.At<T>(row, head), lse[row * p.heads + head],
                               delta[row * p.heads + head])
                       .gradient;
      }
      const int count = static_cast<int>(min(int64_t{32}, keys.last - j));
      for (int n = 0; n < count; ++n) {
        const float w = __shfl_sync(0xFFFFFFFFu, gradient, n);
        const T* key = k.At<T>(j + n, kv);
        for (int i = 0; i < kPerLane; ++i) {
          if (i * 32 + lane < p.dim) sum[i] += w * ToFloat(key[i * 32 + lane]);
        }
      }
    }
  }
  T* to = dq.At<T>(row, head);
  for (int i = 0; i < kPerLane; ++i) {
    if (i * 32 + lane < p.dim) to[i * 32 + lane] = FromFloat<T>(sum[i]);
  }
}

template <typename T>
__global__ void KeyGradientKernel(Problem p, Heads q, Heads k, Heads v, Heads dout,
                                  const float* lse, const float* delta, Heads dk, Heads dv) {
  WaitForPredecessors();
  const int64_t row = blockIdx.x, kv = blockIdx.y * kWarps + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (kv >= p.kv_heads) return;
  const int64_t document = DocumentOf(p.starts_k, p.documents, row);
  float dk_sum[kPerLane] = {}, dv_sum[kPerLane] = {};
  if (document < p.documents) {
    const int64_t end = p.starts_q[document + 1];
    // The query with this key's position; those behind it see the key, as far as the window goes.
    const int64_t place = row - p.starts_k[document + 1] + end;
    const int64_t first = max(place, static_cast<int64_t>(p.starts_q[document]));
    const int64_t last = p.window > 0 ? min(end, place + p.window) : end;
    const int64_t group = p.heads / p.kv_heads;
    for (int64_t head = kv * group; head < (kv + 1) * group; ++head) {
      for (int64_t i = first; i < last; i += 32) {
        Weights weights = {0, 0};
        if (i + lane < last) {
          weights = PairWeights(p, q.At<T>(i + lane, head), k.At<T>(row, kv), v.At<T>(row, kv),
                                dout.At<T>(i + lane, head), lse[(i + lane) * p.heads + head],
                                delta[(i + lane) * p.heads + head]);
        }
        const int count = static_cast<int>(min(int64_t{32}, last - i));
        for (int n = 0; n < count; ++n) {
          const float probability = __shfl_sync(0xFFFFFFFFu, weights.probability, n);
          const float gradient = __shfl_sync(0xFFFFFFFFu, weights.gradient, n);
          const T* query = q.At<T>(i + n, head);
          const T* output = dout.At<T>(i + n, head);
          for (int m = 0; m < kPerLane; ++m) {
            if (m * 32 + lane >= p.dim) continue;
            dk_sum[m] += gradient * ToFloat(query[m * 32 + lane]);
            dv_sum[m] += probability * ToFloat(output[m * 32 + lane]);
          }
        }
      }
    }
  }
  for (int m = 0; m < kPerLane; ++m) {
    if (m * 32 + lane >= p.dim) continue;
    dk.At<T>(row, kv)[m * 32 + lane] = FromFloat<T>(dk_sum[m]);
    dv.At<T>(row, kv)[m * 32 + lane] = FromFloat<T>(dv_sum[m]);
  }
}

dim3 Grid(int64_t rows, int64_t heads) {
  return dim3(static_cast<unsigned>(rows), Blocks(heads, kWarps));
}

// Who computes a problem.
enum class Engine { kCudnn, kFlash, kPlain };

Engine EngineOf(const View& q, const View& k, const View& lse, const PackedDocuments& documents,
                const AttentionOptions& options, std::initializer_list<const View*> others) {
  const AttentionShape shape = ShapeOf(q, k);
  if (lse.data != nullptr && cudnn::Takes(shape, documents, options) && cudnn::IsForThisGpu()) {
    return Engine::kCudnn;
  }
  const bool flash = options.kernels != AttentionKernels::kPlain &&
                     flash::Refusal(shape, options).empty() && flash::Aligned({&q, &k}) &&
                     flash::Aligned(others);
  return flash ? Engine::kFlash : Engine::kPlain;
}

Problem PlainProblem(const View& q, const View& k, const PackedDocuments& documents,
                     const AttentionOptions& options) {
  if (q.shape[2] > kMaxHead) Unsupported("attention with heads of more than 256 elements", q);
  return MakeProblem(q, k, documents, options);
}

}  // namespace

void Attention(const Stream& stream, const View& q, const View& k, const View& v,
               const PackedDocuments& documents, const AttentionOptions& options, const View& out,
               const View& lse, const View& workspace) {
  if (q.numel() == 0) return;
  const Engine engine = EngineOf(q, k, lse, documents, options, {&v, &out});
  if (engine == Engine::kCudnn) {
    return cudnn::Attention(stream, q, k, v, documents, options, out, lse, workspace);
  }
  if (engine == Engine::kFlash) {
    return flash::Attention(stream, q, k, v, documents, options, out, lse);
  }
  const Problem problem = PlainProblem(q, k, documents, options);
  DispatchType("attention", q, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const auto kernel =
        problem.dim <= kMaxHead / 2 ? ForwardKernel<T, kPerLane / 2> : ForwardKernel<T, kPerLane>;
    StartKernel(kernel, {Grid(problem.rows_q, problem.heads), kWarps * 32}, stream, problem,
                Heads(q), Heads(k), Heads(v), Heads(out), lse.as<float>());
  });
}

void AttentionBackward(const Stream& stream, const View& dout, const View& q, const View& k,
                       const View& v, const View& out, const View& lse,
                       const PackedDocuments& documents, const AttentionOptions& options,
                       const View& dq, const View& dk, const View& dv, const View& workspace) {
  if (q.numel() == 0) return;
  const Engine engine = EngineOf(q, k, lse, documents, options, {&v, &dout, &out, &dq, &dk, &dv});
  if (engine == Engine::kCudnn) {
    return cudnn::AttentionBackward(stream, dout, q, k, v, out, lse, documents, options, dq, dk, dv,
                                    workspace);
  }
  float* delta = workspace.as<float>();
  if (engine == Engine::kFlash) {
    return flash::AttentionBackward(stream, dout, q, k, v, out, lse, documents, options, dq, dk, dv,
                                    delta);
  }
  const Problem problem = PlainProblem(q, k, documents, options);
  DispatchType("attention", q, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const dim3 queries = Grid(problem.rows_q, problem.heads);
    StartKernel(DeltaKernel<T>, {queries, kWarps * 32}, stream, problem, Heads(dout), Heads(out),
                delta);
    StartKernel(QueryGradientKernel<T>, {queries, kWarps * 32}, stream, problem, Heads(q), Heads(k),
                Heads(v), Heads(dout), lse.as<float>(), delta, Heads(dq));
    StartKernel(KeyGradientKernel<T>, {Grid(problem.rows_k, problem.kv_heads), kWarps * 32}, stream,
                problem, Heads(q), Heads(k), Heads(v), Heads(dout), lse.as<float>(), delta,
                Heads(dk), Heads(dv));
  });
}

absl::string_view WhyAttentionIsSlow(const AttentionShape& shape, const AttentionOptions& options) {
  return flash::Refusal(shape, options);  // which refuses nothing that cuDNN takes
}

std::vector<bool> PrepareAttention(Device device, absl::Span<const AttentionProblem> problems,
                                   int num_threads, const std::atomic<bool>& stop) {
  LOCKSTEP_CUDA_CHECK(cudaSetDevice(device.index));  // this may be a thread of its own
  if (!cudnn::IsForThisGpu()) return std::vector<bool>(problems.size(), false);
  return cudnn::Prepare(device, problems, num_threads, stop);
}

int64_t NumAttentionPlans() { return cudnn::NumGraphs(); }

WorkspaceBytes AttentionWorkspace(const AttentionShape& shape, const PackedDocuments& documents,
                                  const AttentionOptions& options, bool ask) {
  const WorkspaceBytes plain = {0,
                                shape.tokens_q * shape.heads * static_cast<int64_t>(sizeof(float))};
  if (!cudnn::Takes(shape, documents, options) || (ask && !cudnn::IsForThisGpu())) return plain;
  const WorkspaceBytes fused = cudnn::Workspace(shape, documents, options, ask);
  return ask ? fused : WorkspaceBytes{fused.forward, std::max(fused.backward, plain.backward)};
}

}  // namespace lockstep::kernels::cuda
