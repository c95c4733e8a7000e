#include "tensor/runtime.h"

#include <unistd.h>

#include <chrono>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/thread_pool.h"
#include "tensor/fill_pieces.h"
#include "tensor/runtime_cuda.h"

namespace lockstep {
namespace {

class CpuRuntime : public Runtime {
 public:
  CpuRuntime() {
    context_.stream.device = copy_stream_.device = allocator_.device();
    context_.allocator = &allocator_;
  }
  std::string Describe() const override { return absl::StrCat("cpu, ", NumThreads(), " threads"); }
  int64_t FreeBytes() const override {
    return int64_t{sysconf(_SC_AVPHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  }
  absl::Status Reserve(int64_t, int64_t) override { return absl::OkStatus(); }

 private:
  CpuAllocator allocator_;
};

class MetaRuntime : public Runtime {
 public:
  MetaRuntime() {
    context_.stream.device = copy_stream_.device = allocator_.device();
    context_.allocator = &allocator_;
  }
  std::string Describe() const override { return "meta: shapes and allocations alone"; }
  int64_t FreeBytes() const override { return INT64_MAX; }
  absl::Status Reserve(int64_t, int64_t) override { return absl::OkStatus(); }

 private:
  MetaAllocator allocator_;
};

// Memory of this process: a copy has happened when Begin returns.
class PlainCopy final : public HostCopy {
 public:
  explicit PlainCopy(size_t bytes) : HostCopy(new char[bytes], bytes) {}
  ~PlainCopy() override { delete[] data(); }

  void Begin(const Stream& stream, const View& view) override {
    CHECK(view.contiguous() && view.num_bytes() <= bytes()) << "[host copy]";
    ParallelForRange(view.num_bytes(), 1 << 20, [&](int64_t begin, int64_t end) {
      std::memcpy(data() + begin, static_cast<const char*>(view.data) + begin, end - begin);
    });
  }
  void BeginBeside(const View& view) override {  // in this thread: the others train
    CHECK(view.contiguous() && view.num_bytes() <= bytes()) << "[host copy]";
    std::memcpy(data(), view.data, view.num_bytes());
  }
  void Wait() const override {}
};

using Clock = std::chrono::steady_clock;

// What is queued on the CPU has happened.
class CpuEvent final : public Event {
 public:
  void Record(const Stream& stream) override { moment_ = Clock::now(); }
  void Wait() override {}
  void HoldBack(const Stream& stream) override {}
  double SecondsSince(const Event& earlier) const override {
    const Clock::time_point then = static_cast<const CpuEvent&>(earlier).moment_;
    return std::chrono::duration<double>(moment_ - then).count();
  }

 private:
  Clock::time_point moment_;
};

}  // namespace

int CudaDeviceCount() { return cuda::DeviceCount(); }

absl::StatusOr<std::unique_ptr<Runtime>> Runtime::Open(Device device,
                                                       const RuntimeOptions& options) {
  switch (device.type) {
    case DeviceType::kCPU:
      return std::make_unique<CpuRuntime>();
    case DeviceType::kMeta:
      return std::make_unique<MetaRuntime>();
    case DeviceType::kCUDA:
      return cuda::OpenRuntime(device.index, options);
  }
  LOG(FATAL) << "unreachable";
}

void CopyToDevice(const Stream& stream, const void* host, const View& view) {
  CHECK(view.contiguous()) << "[copy] want a contiguous view";
  if (stream.device.type == DeviceType::kCPU) std::memcpy(view.data, host, view.num_bytes());
  if (stream.device.type == DeviceType::kCUDA) cuda::CopyToDevice(stream, host, view);
}

void CopyToHost(const Stream& stream, const View& view, void* host) {
  CHECK(view.contiguous()) << "[copy] want a contiguous view";
  if (stream.device.type == DeviceType::kCPU) std::memcpy(host, view.data, view.num_bytes());
  if (stream.device.type == DeviceType::kCUDA) cuda::CopyToHost(stream, view, host);
}

void CopyQueued(const Stream& stream, const View& from, const View& to) {
  CHECK(from.contiguous() && to.contiguous() && from.num_bytes() == to.num_bytes())
      << "[copy] want contiguous views of the same bytes";
  if (stream.device.type == DeviceType::kCPU) std::memcpy(to.data, from.data, from.num_bytes());
  if (stream.device.type == DeviceType::kCUDA) cuda::CopyQueued(stream, from, to);
}

absl::Status FillDevice(const Stream& stream, const View& view, FillFn fill) {
  CHECK(view.contiguous()) << "[copy] want a contiguous view";
  if (stream.device.type == DeviceType::kMeta) return absl::OkStatus();
  if (stream.device.type == DeviceType::kCUDA) return cuda::FillDevice(stream, view, fill);
  return FillInPieces(0, view.num_bytes(), fill, view.as<char>());
}

std::unique_ptr<Event> Event::Create(Device device) {
  if (device.type == DeviceType::kCUDA) return cuda::CreateEvent();
  return std::make_unique<CpuEvent>();
}

void Synchronize(const Stream& stream) {
  if (stream.device.type == DeviceType::kCUDA) cuda::Synchronize(stream);
}

std::unique_ptr<HostCopy> HostCopy::Create(Device device, size_t bytes) {
  if (device.type == DeviceType::kCUDA) return cuda::CreateHostCopy(device.index, bytes);
  return std::make_unique<PlainCopy>(bytes);
}

}  // namespace lockstep
