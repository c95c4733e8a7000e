#include <cuda_runtime_api.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/status.h"
#include "nn/config.h"
#include "nn/host_tensor.h"
#include "nn/modules.h"
#include "tensor/kernels/cublaslt.h"
#include "tensor/runtime.h"
#include "tensor/tensor.h"
#include "tools/benchmarks/gemm_search.h"
#include "tools/benchmarks/shapes.h"

namespace lockstep {
namespace {

namespace lt = kernels::cuda::cublaslt;

constexpr int64_t kHeadRows = 1024;          // of a chunk of logits
constexpr size_t kCandidates = 400;          // timed once
constexpr double kRowMs = 1000;              // what a row of products takes, about
constexpr int64_t kComparedBytes = 1 << 26;  // of a result

struct Shape {
  std::string name;
  int64_t m, n, k;
  bool transposed_b;  // forward: W is [n, k]
};

std::vector<Shape> ShapesOf(const nn::ModelConfig& config, int64_t tokens) {
  std::vector<Shape> shapes;
  const auto add = [&](const std::string& name, int64_t rows, int64_t in, int64_t out) {
    shapes.push_back({name, rows, out, in, true});
    shapes.push_back({name + "_dx", rows, in, out, false});
  };
  const nn::ModelModules modules = nn::ModulesOf(config);
  const nn::LayerModules& layer = modules.layers[0];
  add("qkv", tokens, layer.qkv.in(), layer.qkv.out());
  add("o", tokens, layer.o.in(), layer.o.out());
  add("gate_up", tokens, layer.gate_up.in(), layer.gate_up.out());
  add("down", tokens, layer.down.in(), layer.down.out());
  add("head", std::min(kHeadRows, tokens), modules.head.in, modules.head.out);
  return shapes;
}

lt::Problem ProblemOf(const Shape& s) {
  return {CUDA_R_16BF,
          CUDA_R_16BF,
          CUDA_R_16BF,
          CUDA_R_32F,
          false,
          s.transposed_b,
          false,
          false,
          s.m,
          s.n,
          s.k,
          s.k,
          s.transposed_b ? s.k : s.n,
          s.n,
          256,
          256,
          256};
}

struct Entry {
  lt::Candidate candidate;
  double area;    // elements of a tile
  double ms = 0;  // timed once, then in a row
};

class Search {
 public:
  Search(const Context& context, int64_t elements)
      : context_(context),
        stream_(static_cast<cudaStream_t>(context.stream.handle)),
        a_(Random(elements)),
        b_(Random(elements)),
        c_(Random(elements)) {
    for (cudaEvent_t* event : {&begin_, &end_}) CHECK_EQ(cudaEventCreate(event), cudaSuccess);
    int device = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, device);
  }

  void Run(const Shape& shape) {
    const lt::Product product(ProblemOf(shape));
    std::vector<Entry> entries = Candidates(product, shape);
    const size_t considered = entries.size();
    for (Entry& entry : entries) entry.ms = Time(product, entry, 1);
    const std::vector<Entry> finalists = Finalists(std::move(entries));
    std::vector<Entry> rows = finalists;
    rows.push_back(finalists[0]);  // again: the spread
    for (Entry& row : rows) {
      const int half = std::max(1, static_cast<int>(kRowMs / 2 / row.ms));
      Time(product, row, half);  // settles the clock
      row.ms = Time(product, row, half);
    }
    Print(shape, product, rows, considered);
  }

 private:
  Tensor Random(int64_t elements) const {
    const Tensor x = Tensor::Empty(*context_.allocator, DType::kBF16, {elements});
    FillRandom(context_, x);
    return x;
  }

  void Launch(const lt::Product& product, const cublasLtMatmulAlgo_t& algorithm) const {
    product.Run(stream_, algorithm,
                {a_.view().data, b_.view().data, c_.Mutable("bench").data, nullptr, 1, 0});
  }

  // Milliseconds of each of `count` products, one behind the other.
  double Time(const lt::Product& product, const Entry& entry, int count) const {
    cudaEventRecord(begin_, stream_);
    for (int i = 0; i < count; ++i) Launch(product, entry.candidate.algo);
    cudaEventRecord(end_, stream_);
    CHECK_EQ(cudaEventSynchronize(end_), cudaSuccess);
    float ms = 0;
    cudaEventElapsedTime(&ms, begin_, end_);
    return ms / static_cast<float>(count);
  }

  // The first suggestion, and of small, middle and large tiles the two that were fastest.
  static std::vector<Entry> Finalists(std::vector<Entry> entries) {
    std::vector<Entry> finalists = {entries[0]};
    std::sort(entries.begin() + 1, entries.end(),
              [](const Entry& x, const Entry& y) { return x.ms < y.ms; });
    std::map<int, int> taken;
    for (size_t i = 1; i < entries.size(); ++i) {
      const int size = entries[i].area < 24000 ? 0 : entries[i].area < 36000 ? 1 : 2;
      if (++taken[size] <= 2) finalists.push_back(entries[i]);
    }
    return finalists;
  }

  // The first suggestion, which is what training takes, then others.
  std::vector<Entry> Candidates(const lt::Product& product, const Shape& shape) {
    const std::vector<lt::Candidate> suggestions = product.Suggestions(64);
    std::vector<Entry> entries;
    std::set<std::tuple<int, int, int>> seen;
    const auto add = [&](const lt::Candidate& candidate) {
      const lt::Configuration x = lt::ConfigurationOf(candidate.algo);
      const double area = static_cast<double>(shape.m) * static_cast<double>(shape.n) /
                          (candidate.wavesCount * multiprocessors_);
      if (!entries.empty() && (x.split_k > 1 || area < 12000 || area > 50000)) return;
      if (!seen.insert({x.tile, x.custom, x.cluster}).second) return;
      entries.push_back({candidate, area});
    };
    for (const lt::Candidate& suggestion : suggestions) add(suggestion);
    const size_t suggested = entries.size();
    for (const int tile : lt::TilesOf(suggestions[0].algo)) {
      for (int custom = 0; custom < 8; ++custom) {
        for (const int cluster : {CUBLASLT_CLUSTER_SHAPE_2x1x1, CUBLASLT_CLUSTER_SHAPE_1x2x1}) {
          cublasLtMatmulAlgo_t algorithm = suggestions[0].algo;
          lt::Candidate candidate;
          if (lt::Configure({tile, custom, cluster, 1}, &algorithm) &&
              product.Takes(algorithm, &candidate)) {
            add(candidate);
          }
        }
      }
    }
    std::shuffle(entries.begin() + static_cast<int64_t>(suggested), entries.end(), bits_);
    entries.resize(std::min(entries.size(), kCandidates));
    return entries;
  }

  // Whether three runs of both kernels give the same bits.
  bool Repeats(const lt::Product& product, const Entry& x, const Entry& y, const Shape& shape) {
    std::set<uint64_t> hashes;
    const int64_t elements =
        std::min(shape.m * shape.n, kComparedBytes / static_cast<int64_t>(sizeof(uint16_t)));
    for (int i = 0; i < 6; ++i) {
      cudaMemsetAsync(c_.Mutable("bench").data, 0xff, elements * sizeof(uint16_t), stream_);
      Launch(product, (i % 2 == 0 ? x : y).candidate.algo);
      const std::vector<uint16_t> values = nn::ToHost<uint16_t>(context_, c_.Slice(0, 0, elements));
      hashes.insert(
          Hash64({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(uint16_t)}));
    }
    return hashes.size() == 1;
  }

  void Print(const Shape& shape, const lt::Product& product, const std::vector<Entry>& rows,
             size_t considered) {
    const double flops = 2e-9 * static_cast<double>(shape.m) * static_cast<double>(shape.n) *
                         static_cast<double>(shape.k);
    absl::PrintF("%s %d x %d x %d, %d kernels\n", shape.name, shape.m, shape.n, shape.k,
                 considered);
    for (size_t i = 0; i < rows.size(); ++i) {
      const lt::Configuration x = lt::ConfigurationOf(rows[i].candidate.algo);
      const bool first = i == 0 || i + 1 == rows.size();
      absl::PrintF(
          "  %6.1f TFLOP/s %+5.1f %%  tile %d (%.0f elements), custom %d, cluster %d%s%s\n",
          flops / rows[i].ms, 100 * (rows[0].ms / rows[i].ms - 1), x.tile, rows[i].area, x.custom,
          x.cluster, x.split_k > 1 ? absl::StrCat(", split ", x.split_k) : "",
          first                                       ? ": first suggestion"
          : Repeats(product, rows[0], rows[i], shape) ? ""
                                                      : ": other bits");
    }
    std::fflush(stdout);
  }

  const Context context_;
  const cudaStream_t stream_;
  const Tensor a_, b_, c_;
  cudaEvent_t begin_, end_;
  int multiprocessors_ = 0;
  std::mt19937 bits_{7};
};

}  // namespace

absl::Status BenchGemmSearch(const GemmSearchOptions& options) {
  if (options.device.type != DeviceType::kCUDA) {
    return UserError("--device", "gemm_search compares kernels of a GPU");
  }
  ASSIGN_OR_RETURN(const nn::ModelConfig config,
                   nn::ParseModelConfig(options.config_json, "config.json"));
  ASSIGN_OR_RETURN(const auto runtime, Runtime::Open(options.device));
  absl::PrintF("%s, cuBLASLt %d\n", runtime->Describe(), cublasLtGetVersion());
  const std::vector<Shape> shapes = ShapesOf(config, options.tokens);
  int64_t elements = 0;
  for (const Shape& s : shapes) {
    elements = std::max({elements, s.m * s.k, s.n * s.k, s.m * s.n});
  }
  Search search(runtime->context(), elements);
  for (const Shape& shape : shapes) search.Run(shape);
  return absl::OkStatus();
}

}  // namespace lockstep
