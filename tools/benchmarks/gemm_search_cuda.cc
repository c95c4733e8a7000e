#include <cuda_runtime_api.h>

#include <algorithm>
#include <map>
#include <regex>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/status.h"
#include "nn/config.h"
#include "nn/host_tensor.h"
#include "tensor/kernels/fill.h"
#include "tensor/kernels/scale.h"
#include "tensor/runtime.h"
#include "tensor/tensor.h"
#include "tools/benchmarks/energy_rows.h"
#include "tools/benchmarks/gemm_candidates_cuda.h"
#include "tools/benchmarks/gemm_products.h"
#include "tools/benchmarks/gemm_search.h"
#include "tools/benchmarks/shapes.h"

namespace lockstep {
namespace {

namespace lt = kernels::cuda::cublaslt;

constexpr int64_t kHeadRows = 1024;  // of a chunk of logits
constexpr int kMostHeadChunks = 4;   // tried as one
constexpr size_t kTimed = 120;       // kernels that are timed once, at a time
constexpr int kOfTile = 3;           // of them of each tile, at first
constexpr double kSlow = 1.1;        // times the fastest: not worth a row
constexpr int kBestTiles = 3;        // whose other kernels are tried
constexpr size_t kFinalists = 4;
constexpr size_t kReferenceEvery = 5;  // short rows
constexpr EnergyRows::Lengths kShort = {80, 160};
constexpr int64_t kComparedBytes = 1 << 26;  // of a result

// A way to compute a product.
struct Entry {
  const lt::Product* product;
  cublasLtMatmulAlgo_t algorithm;
  bool adds;
  double tile_area = 0;
  bool suggested = true;
  std::string form = {};                       // "": the product as it is
  double share = 1;                            // of a call that is the product
  double ms = 0;                               // timed once
  std::vector<EnergyRow> rows = {};            // of the product
  std::vector<double> time = {}, energy = {};  // beside the first suggestion's
};

int TileOf(const Entry& entry) { return lt::ConfigurationOf(entry.algorithm).tile; }

double Median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return x[x.size() / 2];
}

// `before` and `after` are the first suggestion's rows around it.
void AddRow(EnergyRow row, const EnergyRow& before, const EnergyRow& after, Entry* entry) {
  row.ms *= entry->share;
  entry->rows.push_back(row);
  entry->time.push_back(2 * row.ms / (before.ms + after.ms));
  entry->energy.push_back(2 * row.joules() / (before.joules() + after.joules()));
}

void SortByTime(std::vector<Entry>* entries) {
  const auto time = [](const Entry& x) { return x.time.empty() ? x.ms : Median(x.time); };
  std::sort(entries->begin(), entries->end(),
            [&](const Entry& x, const Entry& y) { return time(x) < time(y); });
}

// "+0.3 % [-1.7, +2.5]", of ratios.
std::string Percent(const std::vector<double>& ratios) {
  const auto [least, most] = std::minmax_element(ratios.begin(), ratios.end());
  return absl::StrFormat("%+5.1f %% [%+.1f, %+.1f]", 100 * (Median(ratios) - 1), 100 * (*least - 1),
                         100 * (*most - 1));
}

void Print(const Entry& entry, const std::string& remark) {
  const auto median = [&](auto of) {
    std::vector<double> values;
    for (const EnergyRow& row : entry.rows) values.push_back(of(row));
    return Median(values);
  };
  absl::PrintF("  time %s, energy %s: %.1f µs, %.4f J, %.0f W, %.0f MHz  %s (%.0f%s) %s\n",
               Percent(entry.time), Percent(entry.energy),
               median([](const EnergyRow& row) { return 1e3 * row.ms; }),
               median([](const EnergyRow& row) { return row.joules(); }),
               median([](const EnergyRow& row) { return row.watts; }),
               median([](const EnergyRow& row) { return row.megahertz; }), NameOf(entry.algorithm),
               entry.tile_area, entry.suggested ? ", suggested" : "", remark);
  std::fflush(stdout);
}

class Search {
 public:
  Search(const Context& context, const GemmSearchOptions& options, int64_t elements)
      : context_(context),
        options_(options),
        stream_(static_cast<cudaStream_t>(context.stream.handle)),
        rows_(context),
        a_(Empty(elements)),
        b_(Empty(elements)),
        c_(Empty(elements)) {
    for (cudaEvent_t* event : {&begin_, &end_}) CHECK_EQ(cudaEventCreate(event), cudaSuccess);
    // Weights of deviation 0.02, activations of 1, as behind a norm.
    FillRandom(context_, b_);
    FillRandom(context_, a_);
    const Tensor factor = Tensor::Empty(*context.allocator, DType::kF64, {1});
    kernels::Fill(context_.stream, factor.Mutable("bench"), 50.0);
    kernels::Scale(context_.stream, a_, factor, /*accumulate=*/false, a_.Mutable("bench"));
    kernels::Fill(context_.stream, c_.Mutable("bench"), 0.0);
    Synchronize(context_.stream);
  }

  void Run(const GemmProduct& shape) {
    const lt::Product product(ProblemOf(shape));
    std::vector<Entry> entries;
    for (const GemmCandidate& x : GemmCandidates(product, shape)) {
      entries.push_back({&product, x.algorithm, shape.adds, x.tile_area, x.suggested});
    }
    absl::PrintF("%s %d x %d x %d%s, %d kernels\n", shape.name, shape.m, shape.n, shape.k,
                 shape.adds ? ", added" : "", entries.size());
    Entry first = entries[0];
    TimeOnce(&first);
    entries.erase(entries.begin());
    std::vector<Entry> best =
        options_.only.empty() ? Best(first, std::move(entries), shape) : Named(std::move(entries));
    LongRows(&first, &best);
    Print(first, "first suggestion");
    for (const Entry& entry : best) {
      const bool same = !entry.form.empty() || Repeats(first, entry, shape);
      Print(entry, same ? entry.form : "OTHER BITS");
    }
  }

 private:
  Tensor Empty(int64_t elements) const {
    return Tensor::Empty(*context_.allocator, DType::kBF16, {elements});
  }

  void Launch(const Entry& x) const {
    x.product->Run(
        stream_, x.algorithm,
        {a_.view().data, b_.view().data, c_.Mutable("bench").data, nullptr, 1, x.adds ? 1.0 : 0.0});
  }

  void TimeOnce(Entry* entry) const {
    Launch(*entry);  // loads it
    cudaEventRecord(begin_, stream_);
    Launch(*entry);
    cudaEventRecord(end_, stream_);
    CHECK_EQ(cudaEventSynchronize(end_), cudaSuccess);
    float ms = 0;
    cudaEventElapsedTime(&ms, begin_, end_);
    entry->ms = ms;
  }

  // The best few, and other forms of the product.
  std::vector<Entry> Best(const Entry& first, std::vector<Entry> entries,
                          const GemmProduct& shape) const {
    const auto most = static_cast<size_t>(options_.candidates);
    std::vector<Entry> best;
    ShortRows(first, FastestOfTiles(most * 3 / 5, &entries), &best);
    std::set<int> tiles = {TileOf(first)};
    for (size_t i = 0; i < best.size() && i < kBestTiles; ++i) tiles.insert(TileOf(best[i]));
    std::vector<Entry> others =
        Fastest(&entries, [&](const Entry& entry) { return tiles.count(TileOf(entry)) != 0; });
    others.resize(std::min(others.size(), most * 2 / 5), first);
    ShortRows(first, std::move(others), &best);
    for (const Entry& entry : best) Print(entry, "short row");
    best.resize(std::min(best.size(), kFinalists), first);
    for (Entry& entry : best) {
      entry.rows.clear();
      entry.time.clear();
      entry.energy.clear();
    }
    for (Entry& entry : OtherForms(shape)) best.push_back(std::move(entry));
    return best;
  }

  std::vector<Entry> Named(std::vector<Entry> entries) const {
    const std::set<std::string> names = absl::StrSplit(options_.only, ',');
    std::vector<Entry> named;
    for (Entry& entry : entries) {
      if (names.count(NameOf(entry.algorithm)) == 0) continue;
      TimeOnce(&entry);
      named.push_back(entry);
    }
    return named;
  }

  // Takes out of `entries` those that are wanted, times them once, and gives the fastest.
  template <typename Wanted>
  std::vector<Entry> Fastest(std::vector<Entry>* entries, const Wanted& wanted) const {
    std::vector<Entry> taken, left;
    for (Entry& entry : *entries) {
      const bool take = taken.size() < kTimed && wanted(entry);
      if (take) TimeOnce(&entry);
      (take ? taken : left).push_back(entry);
    }
    *entries = std::move(left);
    SortByTime(&taken);
    const auto slow = [&](const Entry& entry) { return entry.ms > kSlow * taken[0].ms; };
    taken.erase(std::find_if(taken.begin(), taken.end(), slow), taken.end());
    return taken;
  }

  // The fastest kernel of each tile, of a few.
  std::vector<Entry> FastestOfTiles(size_t most, std::vector<Entry>* entries) const {
    std::map<int, int> counts;
    std::set<int> tiles;
    std::vector<Entry> fastest;
    for (Entry& entry :
         Fastest(entries, [&](const Entry& entry) { return ++counts[TileOf(entry)] <= kOfTile; })) {
      if (fastest.size() < most && tiles.insert(TileOf(entry)).second) fastest.push_back(entry);
    }
    return fastest;
  }

  EnergyRows::Row RowOf(const Entry& entry) const {
    return {[this, entry] { Launch(entry); }, entry.ms};
  }

  // A row of each, with the first suggestion's around every few, into `measured`, which is sorted.
  void ShortRows(const Entry& first, std::vector<Entry> entries,
                 std::vector<Entry>* measured) const {
    std::vector<EnergyRows::Row> rows;
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i % kReferenceEvery == 0) rows.push_back(RowOf(first));
      rows.push_back(RowOf(entries[i]));
    }
    rows.push_back(RowOf(first));
    const std::vector<EnergyRow> of_rows = rows_.Measure(rows, kShort);
    for (size_t i = 0; i < entries.size(); ++i) {
      const size_t before = i / kReferenceEvery * (kReferenceEvery + 1);
      const size_t after = std::min(before + kReferenceEvery + 1, of_rows.size() - 1);
      AddRow(of_rows[before + i % kReferenceEvery + 1], of_rows[before], of_rows[after],
             &entries[i]);
      measured->push_back(entries[i]);
    }
    SortByTime(measured);
  }

  // The same product as training could also have it.
  std::vector<Entry> OtherForms(const GemmProduct& shape) const {
    std::vector<Entry> entries;
    const auto add = [&](const std::string& form, const GemmProduct& other) {
      const auto* product = new lt::Product(ProblemOf(other));  // lives as long as the process
      entries.push_back({product, product->FirstSuggestion(), other.adds, 0, true, form,
                         static_cast<double>(shape.m) / static_cast<double>(other.m)});
      TimeOnce(&entries.back());
    };
    GemmProduct other = shape;
    other.transposed_b = !shape.transposed_b;
    add("W the other way", other);
    if (shape.adds) {
      other = shape;
      other.adds = false;
      add("not added", other);
    }
    for (int chunks = 2; shape.m == kHeadRows && chunks <= kMostHeadChunks; chunks *= 2) {
      other = shape;
      other.m = chunks * shape.m;
      add(absl::StrCat(other.m, " rows"), other);
    }
    return entries;
  }

  // In turns with the first suggestion.
  void LongRows(Entry* first, std::vector<Entry>* entries) const {
    std::vector<EnergyRows::Row> rows;
    for (int round = 0; round < options_.rounds; ++round) {
      rows.push_back(RowOf(*first));
      for (const Entry& entry : *entries) rows.push_back(RowOf(entry));
    }
    rows.push_back(RowOf(*first));
    const std::vector<EnergyRow> of_rows =
        rows_.Measure(rows, {options_.row_ms / 3, options_.row_ms});
    const size_t turn = entries->size() + 1;
    for (size_t i = 0; i + 1 < of_rows.size(); ++i) {
      const size_t before = i / turn * turn;
      AddRow(of_rows[i], of_rows[before], of_rows[before + turn],
             i == before ? first : &(*entries)[i - before - 1]);
    }
  }

  // Whether three runs of both kernels give the same bits.
  bool Repeats(const Entry& x, const Entry& y, const GemmProduct& shape) const {
    std::set<uint64_t> hashes;
    const int64_t elements =
        std::min(shape.m * shape.n, kComparedBytes / static_cast<int64_t>(sizeof(uint16_t)));
    for (int i = 0; i < 6; ++i) {
      cudaMemsetAsync(c_.Mutable("bench").data, shape.adds ? 0 : 0xff, elements * sizeof(uint16_t),
                      stream_);
      Launch(i % 2 == 0 ? x : y);
      const std::vector<uint16_t> values = nn::ToHost<uint16_t>(context_, c_.Slice(0, 0, elements));
      hashes.insert(
          Hash64({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(uint16_t)}));
    }
    return hashes.size() == 1;
  }

  const Context context_;
  const GemmSearchOptions options_;
  const cudaStream_t stream_;
  const EnergyRows rows_;
  const Tensor a_, b_, c_;
  cudaEvent_t begin_, end_;
};

}  // namespace

absl::Status BenchGemmSearch(const GemmSearchOptions& options) {
  if (options.device.type != DeviceType::kCUDA) {
    return UserError("--device", "gemm_search compares kernels of a GPU");
  }
  ASSIGN_OR_RETURN(const nn::ModelConfig config,
                   nn::ParseModelConfig(options.config_json, "config.json"));
  std::vector<GemmProduct> shapes;
  int64_t elements = 0;
  for (const GemmProduct& s : GemmProductsOf(config, options.tokens, kHeadRows)) {
    const std::regex wanted(options.products.empty() ? ".*" : options.products);
    if (!std::regex_match(s.name, wanted)) continue;
    const int64_t m = s.m == kHeadRows ? kMostHeadChunks * s.m : s.m;
    elements = std::max({elements, m * s.k, s.n * s.k, m * s.n});
    shapes.push_back(s);
  }
  if (shapes.empty()) {
    return UserError("--kernels", absl::StrCat("no product matches \"", options.products, "\""),
                     "qkv, o, gate_up, down, head; gradients as qkv_dx");
  }
  ASSIGN_OR_RETURN(const auto runtime, Runtime::Open(options.device));
  absl::PrintF("%s, cuBLASLt %d\n", runtime->Describe(), cublasLtGetVersion());
  Search search(runtime->context(), options, elements);
  for (const GemmProduct& shape : shapes) search.Run(shape);
  return absl::OkStatus();
}

}  // namespace lockstep
