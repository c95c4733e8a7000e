#include <cuda_runtime_api.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "base/check.h"
#include "tools/benchmarks/energy_curve.h"
#include "tools/benchmarks/energy_rows.h"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kWakeMs = 400;  // of a GPU that has rested
constexpr double kLastMs = 100;  // until the counter moves again

double Seconds() { return std::chrono::duration<double>(Clock::now().time_since_epoch()).count(); }

// Reads the meter in a thread of its own. Its counter moves every 20 to 100 ms.
class Sampler {
 public:
  explicit Sampler(const GpuMeter* meter) : meter_(meter) {
    if (meter_ != nullptr) thread_ = std::thread([this] { Sample(); });
  }
  ~Sampler() { Stop(); }
  Sampler(const Sampler&) = delete;

  void Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }

  // Means between two times; after Stop.
  double Watts(double begin, double end) const { return energy_.Watts(begin, end); }
  double Megahertz(double begin, double end) const {
    double sum = 0;
    int count = 0;
    for (const Clocked& reading : clocks_) {
      if (reading.seconds < begin || reading.seconds > end) continue;
      sum += reading.megahertz;
      ++count;
    }
    return count == 0 ? 0 : sum / count;
  }

 private:
  struct Clocked {
    double seconds, megahertz;
  };

  void Sample() {
    while (!stop_) {
      const double joules = meter_->Joules();
      energy_.Add(Seconds(), joules);
      const double megahertz = meter_->Megahertz();
      clocks_.push_back({Seconds(), megahertz});
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }

  const GpuMeter* meter_;
  std::atomic<bool> stop_ = false;
  EnergyCurve energy_;
  std::vector<Clocked> clocks_;
  std::thread thread_;
};

struct Span {
  cudaEvent_t begin, end;
  int calls;
};

cudaEvent_t Record(cudaStream_t stream) {
  cudaEvent_t event;
  CHECK_EQ(cudaEventCreate(&event), cudaSuccess);
  CHECK_EQ(cudaEventRecord(event, stream), cudaSuccess);
  return event;
}

double SecondsBetween(cudaEvent_t begin, cudaEvent_t end) {
  float ms = 0;
  CHECK_EQ(cudaEventElapsedTime(&ms, begin, end), cudaSuccess);
  return 1e-3 * ms;
}

}  // namespace

EnergyRows::EnergyRows(const Context& context)
    : context_(context), meter_(GpuMeter::Open(context.device())) {}

std::vector<EnergyRow> EnergyRows::Measure(const std::vector<Row>& rows,
                                           const Lengths& lengths) const {
  const auto stream = static_cast<cudaStream_t>(context_.stream.handle);
  const auto queue = [&](const Row& row, double ms) {
    const int calls = std::max(1, static_cast<int>(ms / row.about_ms));
    for (int i = 0; i < calls; ++i) row.call();
    return calls;
  };
  Sampler sampler(meter_.get());
  cudaEvent_t first = Record(stream);
  CHECK_EQ(cudaEventSynchronize(first), cudaSuccess);
  const double start = Seconds();
  if (!rows.empty()) queue(rows[0], kWakeMs);
  std::vector<Span> spans;
  for (const Row& row : rows) {
    queue(row, lengths.settle_ms);
    const cudaEvent_t begin = Record(stream);
    const int calls = queue(row, lengths.ms);
    spans.push_back({begin, Record(stream), calls});
  }
  if (!rows.empty()) queue(rows.back(), kLastMs);
  CHECK_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  sampler.Stop();
  std::vector<EnergyRow> measured;
  for (const Span& span : spans) {
    const double begin = start + SecondsBetween(first, span.begin);
    const double seconds = SecondsBetween(span.begin, span.end);
    measured.push_back({1e3 * seconds / span.calls, sampler.Watts(begin, begin + seconds),
                        sampler.Megahertz(begin, begin + seconds)});
    cudaEventDestroy(span.begin);
    cudaEventDestroy(span.end);
  }
  cudaEventDestroy(first);
  return measured;
}

}  // namespace lockstep
