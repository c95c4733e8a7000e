#include "tensor/runtime.h"

#include <unistd.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/thread_pool.h"
#include "tensor/runtime_cuda.h"

namespace lockstep {
namespace {

class CpuRuntime : public Runtime {
 public:
  CpuRuntime() {
    context_.stream.device = allocator_.device();
    context_.allocator = &allocator_;
  }
  std::string Describe() const override { return absl::StrCat("cpu, ", NumThreads(), " threads"); }
  int64_t FreeBytes() const override {
    return int64_t{sysconf(_SC_AVPHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  }
  void Reserve(int64_t bytes) override {}

 private:
  CpuAllocator allocator_;
};

class MetaRuntime : public Runtime {
 public:
  MetaRuntime() {
    context_.stream.device = allocator_.device();
    context_.allocator = &allocator_;
  }
  std::string Describe() const override { return "meta: shapes and allocations alone"; }
  int64_t FreeBytes() const override { return INT64_MAX; }
  void Reserve(int64_t bytes) override {}

 private:
  MetaAllocator allocator_;
};

}  // namespace

int CudaDeviceCount() { return cuda::DeviceCount(); }

absl::StatusOr<std::unique_ptr<Runtime>> Runtime::Open(Device device) {
  switch (device.type) {
    case DeviceType::kCPU:
      return std::make_unique<CpuRuntime>();
    case DeviceType::kMeta:
      return std::make_unique<MetaRuntime>();
    case DeviceType::kCUDA:
      return cuda::OpenRuntime(device.index);
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

void Synchronize(const Stream& stream) {
  if (stream.device.type == DeviceType::kCUDA) cuda::Synchronize(stream);
}

}  // namespace lockstep
