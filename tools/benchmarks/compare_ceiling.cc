#include "tools/benchmarks/compare_ceiling.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_format.h"
#include "base/stopwatch.h"
#include "nn/packed_tokens.h"
#include "tensor/runtime.h"
#include "tools/benchmarks/ceiling.h"
#include "tools/benchmarks/gpu_meter.h"

namespace lockstep {
namespace {

constexpr double kMostMs = 1000;  // of a part's row

// Of a row of calls that are queued one behind the other.
struct Row {
  double ms = 0;                    // of a call
  double watts = 0, megahertz = 0;  // over the row; at a moment of it. 0 without a meter
};

class Rows {
 public:
  explicit Rows(const Context& context)
      : context_(context), meter_(GpuMeter::Open(context.device())) {}

  Row Time(int count, absl::FunctionRef<void()> run) const {
    Synchronize(context_.stream);
    const double joules = meter_ == nullptr ? 0 : meter_->Joules();
    const Stopwatch watch;
    for (int i = 0; i < count; ++i) run();
    Row row;
    if (meter_ != nullptr) row.megahertz = meter_->Megahertz();  // the device is still at work
    Synchronize(context_.stream);
    const double seconds = watch.Seconds();
    row.ms = 1e3 * seconds / count;
    if (meter_ != nullptr) row.watts = (meter_->Joules() - joules) / seconds;
    return row;
  }

  // As many calls as fill `ms`, but for the first half, which settles the clock.
  Row Settled(double ms, absl::FunctionRef<void()> run) const {
    const int count = std::max(1, static_cast<int>(ms / 2 / Time(1, run).ms));
    Time(count, run);
    return Time(count, run);
  }

 private:
  const Context& context_;
  const std::unique_ptr<GpuMeter> meter_;
};

// "497.1 ms, 343.0 J, 690 W, 1515 MHz"
std::string Describe(const Row& row) {
  std::string text = absl::StrFormat("%.1f ms", row.ms);
  if (row.watts > 0) {
    absl::StrAppendFormat(&text, ", %.1f J, %.0f W, %.0f MHz", 1e-3 * row.ms * row.watts, row.watts,
                          row.megahertz);
  }
  return text;
}

// The row of median time.
Row Median(std::vector<Row> rows) {
  const auto middle = rows.begin() + static_cast<int64_t>(rows.size() / 2);
  std::nth_element(rows.begin(), middle, rows.end(),
                   [](const Row& x, const Row& y) { return x.ms < y.ms; });
  return *middle;
}

}  // namespace

void CompareWithCeiling(const Context& context, const nn::Decoder& decoder,
                        const CompareOptions& options, BenchStep* step) {
  const nn::PackedTokens pack = step->Pack();
  const Ceiling ceiling(context, decoder, pack, options.score_bytes);
  const Rows rows(context);
  const auto run = [&] { ceiling.Run(); };
  rows.Time(1, run);  // plans
  const double about = rows.Time(1, run).ms;
  std::vector<Row> of_step, of_ceiling;
  std::vector<double> shares;
  for (int round = 0; round < options.rounds; ++round) {
    of_step.push_back(rows.Time(options.steps, [&] { step->Run(); }));
    const double count = options.steps * of_step.back().ms / about;
    of_ceiling.push_back(rows.Time(std::max(1, static_cast<int>(count)), run));
    shares.push_back(100 * of_ceiling.back().ms / of_step.back().ms);
  }
  std::sort(shares.begin(), shares.end());
  const Row it = Median(of_step), most = Median(of_ceiling);
  const auto rate = [&](double ms) { return 1e3 * static_cast<double>(step->tokens()) / ms; };
  absl::PrintF(
      "  ceiling, wide products and attention alone, in turns with the step: %.0f tokens/s (%s); "
      "the step %.0f (%s): %.1f %% of it (%.1f to %.1f)\n",
      rate(most.ms), Describe(most), rate(it.ms), Describe(it), shares[shares.size() / 2],
      shares.front(), shares.back());
  std::string table;
  double sum = 0;
  for (const Ceiling::Part& part : ceiling.parts()) {
    const Row row = rows.Settled(std::min(options.steps * it.ms / 2, kMostMs), [&] {
      for (const auto& call : part.calls) call();
    });
    const auto calls = static_cast<double>(part.calls.size());
    sum += row.ms;
    absl::StrAppendFormat(&table, "  %5.0f × %9.1f µs  %8.3f TFLOP/s  %s (%s)\n", calls,
                          1e3 * row.ms / calls, 1e-9 * part.flops / row.ms, part.name,
                          Describe(row));
  }
  absl::PrintF("  each part in a row of its own, added up: %.0f tokens/s, %.1f ms: %.1f %%\n%s",
               rate(sum), sum, 100 * sum / it.ms, table);
}

}  // namespace lockstep
