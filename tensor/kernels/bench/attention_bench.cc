// Rate of packed attention, forward and backward, at the heads of a 135M-parameter Llama (9 query
// and 3 kv heads of 64) and of an 8B one (32 and 8 of 128).
//   bazel run --config=cpu //tools:bench -- --kernels=attention
// "gflops" counts the products that causality leaves: 2 forward, 5 backward.

#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "benchmark/benchmark.h"
#include "tensor/kernels/attention.h"
#include "tensor/kernels/bench/operands.h"

namespace lockstep::kernels {
namespace {

struct Job {
  const char* what;
  int64_t heads, kv_heads, dim;
  std::vector<int32_t> starts;
};

std::vector<int32_t> Evenly(int32_t documents, int32_t length) {
  std::vector<int32_t> starts = {0};
  for (int32_t d = 0; d < documents; ++d) starts.push_back(starts.back() + length);
  return starts;
}

const std::vector<Job>& Jobs() {
  static const std::vector<Job>* jobs = new std::vector<Job>{
      {"135M_1x1024", 9, 3, 64, Evenly(1, 1024)},
      {"135M_8x128", 9, 3, 64, Evenly(8, 128)},
      {"135M_6x162", 9, 3, 64, Evenly(6, 162)},
      {"8B_1x1024", 32, 8, 128, Evenly(1, 1024)},
  };
  return *jobs;
}

View Heads(const Tensor& merged, int64_t first, int64_t count, int64_t dim) {
  View view = merged.view().Slice(1, first * dim, (first + count) * dim);
  view.rank = 3;
  view.shape[1] = count, view.shape[2] = dim;
  view.stride[1] = dim, view.stride[2] = 1;
  return view;
}

void Run(benchmark::State& state, const Job& job, bool backward, int threads) {
  SetNumThreads(threads);
  const int64_t tokens = job.starts.back(), width = (job.heads + 2 * job.kv_heads) * job.dim;
  const Tensor qkv = Filled({tokens, width}), dqkv = Filled({tokens, width}),
               out = Filled({tokens, job.heads * job.dim}),
               dout = Filled({tokens, job.heads * job.dim}), lse = Filled({tokens, job.heads}),
               workspace = Bytes(tokens * job.heads * 4);
  const PackedDocuments documents = {static_cast<int64_t>(job.starts.size()) - 1, job.starts.data(),
                                     job.starts.data(), View{}, View{}};
  const AttentionOptions options = {.scale = 0.125};
  const auto part = [&](const Tensor& x, int64_t first, int64_t count) {
    return Heads(x, first, count, job.dim);
  };
  const int64_t h = job.heads, k = job.kv_heads;
  const auto forward = [&] {
    Attention(Stream{}, part(qkv, 0, h), part(qkv, h, k), part(qkv, h + k, k), documents, options,
              part(out, 0, h), lse, View{});
  };
  forward();
  for (auto _ : state) {
    if (!backward) {
      forward();
      continue;
    }
    AttentionBackward(Stream{}, part(dout, 0, h), part(qkv, 0, h), part(qkv, h, k),
                      part(qkv, h + k, k), part(out, 0, h), lse, documents, options,
                      part(dqkv, 0, h), part(dqkv, h, k), part(dqkv, h + k, k), workspace);
  }
  double pairs = 0;
  for (size_t d = 1; d < job.starts.size(); ++d) {
    const double length = job.starts[d] - job.starts[d - 1];
    pairs += length * (length + 1) / 2;
  }
  state.counters["gflops"] =
      benchmark::Counter((backward ? 5 : 2) * 2e-9 * pairs * job.heads * job.dim,
                         benchmark::Counter::kIsIterationInvariantRate);
}

const bool registered = [] {
  for (const Job& job : Jobs()) {
    for (const bool backward : {false, true}) {
      for (const int threads : {1, 4}) {
        const std::string name = std::string("attention_") + (backward ? "backward" : "forward") +
                                 "/" + job.what + "/threads:" + std::to_string(threads);
        benchmark::RegisterBenchmark(name.c_str(),
                                     [=](benchmark::State& s) { Run(s, job, backward, threads); })
            ->UseRealTime()
            ->Unit(benchmark::kMillisecond);
      }
    }
  }
  return true;
}();

}  // namespace
}  // namespace lockstep::kernels
