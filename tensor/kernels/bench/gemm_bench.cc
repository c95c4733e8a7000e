// Rate of Gemm beside that of the library's own threaded call, at the shapes of a LoRA step of a
// 135M-parameter Llama (576 wide, 1024 tokens).
//   bazel run --config=cpu //tools:bench -- --kernels=gemm
// "gflops" is the rate; rows of one shape and number of threads are to be compared.

#include <dnnl.h>
#include <omp.h>

#include <string>

#include "base/thread_pool.h"
#include "benchmark/benchmark.h"
#include "tensor/kernels/bench/operands.h"
#include "tensor/kernels/gemm.h"
#include "tensor/tensor.h"

namespace lockstep::kernels {
namespace {

struct Shape {
  const char* what;
  int64_t m, n, k;
  bool transposed_b;
};

constexpr Shape kShapes[] = {
    {"qkv", 1024, 960, 576, true},       {"o", 1024, 576, 576, true},
    {"gate_up", 1024, 3072, 576, true},  {"down", 1024, 576, 1536, true},
    {"qkv_dx", 1024, 576, 960, false},   {"gate_up_dx", 1024, 576, 3072, false},
    {"down_dx", 1024, 1536, 576, false}, {"head", 320, 49152, 576, true},
    {"head_dx", 320, 576, 49152, false}, {"lora_a", 1024, 48, 576, true},
    {"lora_b", 1024, 576, 16, true},
};

struct Operands {
  explicit Operands(const Shape& s)
      : a(Filled({s.m, s.k})),
        b(s.transposed_b ? Filled({s.n, s.k}) : Filled({s.k, s.n})),
        c(Filled({s.m, s.n})) {}

  Tensor a, b, c;
};

void SetRate(benchmark::State& state, const Shape& s) {
  state.counters["gflops"] =
      benchmark::Counter(2e-9 * s.m * s.n * s.k, benchmark::Counter::kIsIterationInvariantRate);
}

void Ours(benchmark::State& state, const Shape& s, int threads) {
  SetNumThreads(threads);
  const Operands x(s);
  const View b = s.transposed_b ? Transposed(x.b) : x.b.view();
  for (auto _ : state) Gemm(Stream{}, x.a, b, x.c);
  SetRate(state, s);
}

void Library(benchmark::State& state, const Shape& s, int threads) {
  omp_set_num_threads(threads);
  const Operands x(s);
  for (auto _ : state) {
    dnnl_sgemm('N', s.transposed_b ? 'T' : 'N', s.m, s.n, s.k, 1, x.a.view().as<float>(), s.k,
               x.b.view().as<float>(), s.transposed_b ? s.k : s.n, 0, x.c.view().as<float>(), s.n);
  }
  SetRate(state, s);
}

const bool registered = [] {
  for (const Shape& s : kShapes) {
    for (const int threads : {1, 4}) {
      const std::string suffix = std::string(s.what) + "/threads:" + std::to_string(threads);
      benchmark::RegisterBenchmark(("gemm/" + suffix).c_str(), Ours, s, threads)->UseRealTime();
      benchmark::RegisterBenchmark(("dnnl_sgemm/" + suffix).c_str(), Library, s, threads)
          ->UseRealTime();
    }
  }
  return true;
}();

}  // namespace
}  // namespace lockstep::kernels
