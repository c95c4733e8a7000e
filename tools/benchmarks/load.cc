#include "tools/benchmarks/load.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"
#include "base/stopwatch.h"
#include "nn/model.h"
#include "nn/weights.h"
#include "tensor/runtime.h"

namespace lockstep {
namespace {

constexpr double kGiB = 1 << 30;

// A line of /proc/self/status, in bytes.
int64_t StatusBytes(absl::string_view name) {
  const auto text = ReadFile("/proc/self/status");
  if (!text.ok()) return 0;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    if (!absl::StartsWith(line, name)) continue;
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar("\t :"), absl::SkipEmpty());
    int64_t kilobytes = 0;
    return words.size() > 1 && absl::SimpleAtoi(words[1], &kilobytes) ? kilobytes << 10 : 0;
  }
  return 0;
}

// Watches the process's anonymous memory while it lives.
class MemoryWatch {
 public:
  MemoryWatch() : before_(StatusBytes("RssAnon")), thread_([this] { Watch(); }) {}
  ~MemoryWatch() {
    done_ = true;
    if (thread_.joinable()) thread_.join();
  }
  // The most that was added.
  int64_t Finish() {
    done_ = true;
    thread_.join();
    return most_ - before_;
  }

 private:
  void Watch() {
    while (!done_) {
      most_ = std::max(most_, StatusBytes("RssAnon"));
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    most_ = std::max(most_, StatusBytes("RssAnon"));
  }
  const int64_t before_;
  int64_t most_ = 0;  // the thread's, until it is joined
  std::atomic<bool> done_ = false;
  std::thread thread_;
};

absl::StatusOr<double> BytesOfTensors(const std::string& model) {
  ASSIGN_OR_RETURN(const nn::ModelConfig config, nn::ReadModelConfig(model));
  ASSIGN_OR_RETURN(const nn::WeightFiles files, nn::WeightFiles::Open(model, config));
  double bytes = 0;
  for (const auto& [name, entry] : files.entries()) {
    bytes += static_cast<double>(entry.tensor->bytes);
  }
  return bytes;
}

}  // namespace

absl::Status BenchLoad(const std::string& model, const Device& device) {
  ASSIGN_OR_RETURN(const double bytes, BytesOfTensors(model));
  ASSIGN_OR_RETURN(const std::unique_ptr<Runtime> runtime, Runtime::Open(device));
  MemoryWatch memory;
  const Stopwatch watch;
  ASSIGN_OR_RETURN(const std::unique_ptr<nn::Model> loaded,
                   nn::Model::Load(runtime->context(), {.directory = model,
                                                        .training = false,
                                                        .compute_dtype = DType::kBF16,
                                                        .base_dtype = DType::kBF16}));
  Synchronize(runtime->context().stream);
  const double seconds = watch.Seconds();
  const double most = static_cast<double>(memory.Finish());
  std::printf("%.2f GB of tensors in %.2f s: %.2f GB/s; host memory of its own: %.2f GiB",
              bytes / 1e9, seconds, bytes / 1e9 / seconds, most / kGiB);
  if (device.type == DeviceType::kCPU) {
    std::printf(", the weights among it: %.2f GiB", bytes / kGiB);
  }
  std::printf("\n");
  return absl::OkStatus();
}

}  // namespace lockstep
