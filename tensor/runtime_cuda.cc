#include "tensor/runtime_cuda.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"
#include "base/status.h"
#include "tensor/arena.h"
#include "tensor/cuda_check.h"
#include "tensor/fill_pieces.h"
#include "tensor/machine_code.h"
#include "tensor/pinned_memory.h"

namespace lockstep::cuda {
namespace {

// What is asked of the driver at once when nothing was reserved.
constexpr size_t kSegmentBytes = size_t{256} << 20;

Device Gpu(int index) { return {DeviceType::kCUDA, static_cast<int8_t>(index)}; }

// Memory of the device, or (Device{}) of the host, pinned.
class CudaAllocator final : public Allocator {
 public:
  CudaAllocator(Device device, const RuntimeOptions& options)
      : Allocator(device), options_(options) {}
  ~CudaAllocator() override {
    for (void* segment : segments_) cudaFree(segment);
  }

  bool AddSegment(size_t bytes) {
    void* segment = is_host() ? AddPinned(bytes) : AddOnDevice(bytes);
    if (segment != nullptr) arena_.AddSegment(reinterpret_cast<uintptr_t>(segment), bytes);
    return segment != nullptr;
  }

 private:
  bool is_host() const { return device().type == DeviceType::kCPU; }
  // Null: there is no such memory.
  void* AddPinned(size_t bytes) {
    auto memory = PinnedMemory::Create(bytes);
    if (memory == nullptr) return nullptr;
    pinned_.push_back(std::move(memory));
    return pinned_.back()->data();
  }
  void* AddOnDevice(size_t bytes) {
    void* segment = nullptr;
    if (cudaMalloc(&segment, bytes) != cudaSuccess) {
      cudaGetLastError();  // it was reported: out of memory
      return nullptr;
    }
    segments_.push_back(segment);
    return segment;
  }
  void* DoAllocate(size_t aligned_bytes) override {
    const size_t bytes = std::max(aligned_bytes, kAlignment);
    if (options_.separate_blocks) {
      void* block = nullptr;
      CUDA_CHECK(cudaMalloc(&block, bytes));
      return block;
    }
    auto start = arena_.Take(bytes);
    if (!start && (AddSegment(std::max(bytes, kSegmentBytes)) || AddSegment(bytes))) {
      start = arena_.Take(bytes);
    }
    CHECK(start) << "[memory] want " << bytes << (is_host() ? " pinned bytes" : " bytes on the GPU")
                 << "; " << bytes_in_use()
                 << " are in use\nHINT: a smaller --tokens_per_pack or "
                    "--gradient_checkpointing=layer needs less; --dry_run prints the plan";
    return reinterpret_cast<void*>(*start);
  }
  void DoDeallocate(void* data, size_t aligned_bytes) override {
    if (options_.separate_blocks) {
      CUDA_CHECK(cudaFree(data));  // waits for the kernels that still use it
      return;
    }
    arena_.GiveBack(reinterpret_cast<uintptr_t>(data), std::max(aligned_bytes, kAlignment));
  }

  const RuntimeOptions options_;
  Arena arena_;
  std::vector<void*> segments_;  // of the device
  std::vector<std::unique_ptr<PinnedMemory>> pinned_;
};

// Host memory that the GPU copies from by itself, in slots that are filled in turn: a copy returns
// when its bytes are in a slot, not when they have arrived. Small copies share a slot, so that the
// host may run several steps ahead of the GPU.
class Staging {
 public:
  Staging() {
    for (Slot& slot : slots_) {
      CUDA_CHECK(cudaHostAlloc(&slot.memory, kSlotBytes, cudaHostAllocDefault));
      CUDA_CHECK(cudaEventCreateWithFlags(&slot.free, cudaEventDisableTiming));
    }
  }
  ~Staging() {
    for (Slot& slot : slots_) {
      cudaFreeHost(slot.memory);
      cudaEventDestroy(slot.free);
    }
  }

  absl::Status Copy(FillFn fill, char* to, size_t bytes, cudaStream_t stream) {
    for (size_t done = 0; done < bytes;) {
      if (used_ == kSlotBytes) NextSlot(stream);
      const size_t part = std::min(bytes - done, kSlotBytes - used_);
      char* staged = static_cast<char*>(slots_[current_].memory) + used_;
      RETURN_IF_ERROR(FillInPieces(done, done + part, fill, staged));
      CUDA_CHECK(cudaMemcpyAsync(to + done, staged, part, cudaMemcpyHostToDevice, stream));
      used_ = std::min(kSlotBytes, AlignUp(used_ + part));
      done += part;
    }
    return absl::OkStatus();
  }

 private:
  static constexpr size_t kSlotBytes = size_t{16} << 20;
  static constexpr int kSlots = 4;
  struct Slot {
    void* memory = nullptr;
    cudaEvent_t free = nullptr;  // the GPU has read the slot
  };

  void NextSlot(cudaStream_t stream) {
    CUDA_CHECK(cudaEventRecord(slots_[current_].free, stream));
    current_ = (current_ + 1) % kSlots;
    CUDA_CHECK(cudaEventSynchronize(slots_[current_].free));
    used_ = 0;
  }

  Slot slots_[kSlots];
  int current_ = 0;
  size_t used_ = 0;  // of the current slot
};

Staging& TheStaging() {
  static Staging* staging = new Staging;  // lives as long as the process: one GPU each
  return *staging;
}

// A thread waits for it asleep, not spinning beside the threads that train.
class CudaEvent final : public Event {
 public:
  CudaEvent() { CUDA_CHECK(cudaEventCreateWithFlags(&event_, cudaEventBlockingSync)); }
  ~CudaEvent() override { cudaEventDestroy(event_); }
  void Record(const Stream& stream) override {
    CUDA_CHECK(cudaEventRecord(event_, static_cast<cudaStream_t>(stream.handle)));
  }
  void Wait() override { CUDA_CHECK(cudaEventSynchronize(event_)); }
  void HoldBack(const Stream& stream) override {
    CUDA_CHECK(cudaStreamWaitEvent(static_cast<cudaStream_t>(stream.handle), event_));
  }
  double SecondsSince(const Event& earlier) const override {
    float milliseconds = 0;
    CUDA_CHECK(
        cudaEventElapsedTime(&milliseconds, static_cast<const CudaEvent&>(earlier).event_, event_));
    return milliseconds * 1e-3;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

class CudaRuntime final : public Runtime {
 public:
  CudaRuntime(int index, const RuntimeOptions& options, cudaStream_t stream,
              cudaStream_t copy_stream)
      : index_(index), allocator_(Gpu(index), options), host_allocator_(Device{}, {}) {
    context_.stream = {allocator_.device(), stream};
    context_.allocator = &allocator_;
    copy_stream_ = {allocator_.device(), copy_stream};
  }
  ~CudaRuntime() override {
    for (void* stream : {context_.stream.handle, copy_stream_.handle}) {
      cudaStreamSynchronize(static_cast<cudaStream_t>(stream));
      cudaStreamDestroy(static_cast<cudaStream_t>(stream));
    }
  }

  std::string Describe() const override {
    cudaDeviceProp properties;
    CUDA_CHECK(cudaGetDeviceProperties(&properties, index_));
    int driver = 0;
    CUDA_CHECK(cudaDriverGetVersion(&driver));
    return absl::StrFormat("%s, %.1f GiB, driver for CUDA %d.%d", properties.name,
                           static_cast<double>(properties.totalGlobalMem) / (1 << 30),
                           driver / 1000, driver % 1000 / 10);
  }
  std::string gpu_id() const override {
    cudaDeviceProp properties;
    CUDA_CHECK(cudaGetDeviceProperties(&properties, index_));
    return absl::BytesToHexString({properties.uuid.bytes, sizeof(properties.uuid.bytes)});
  }
  int64_t FreeBytes() const override {
    size_t free = 0, total = 0;
    CUDA_CHECK(cudaMemGetInfo(&free, &total));
    return static_cast<int64_t>(free);
  }
  absl::Status Reserve(int64_t device_bytes, int64_t host_bytes) override {
    const auto gib = [](int64_t bytes) {
      return absl::StrFormat("%.2f GiB", static_cast<double>(bytes) / (1 << 30));
    };
    if (device_bytes > 0 && !allocator_.AddSegment(AlignUp(device_bytes))) {
      return UserError("memory",
                       absl::StrCat("want ", gib(device_bytes), " of GPU ", index_,
                                    "'s memory in one piece, got ", gib(FreeBytes()), " free"),
                       "has another process taken it since it was planned? nvidia-smi lists them");
    }
    if (host_bytes > 0 && !host_allocator_.AddSegment(AlignUp(host_bytes))) {
      return UserError(
          "memory",
          absl::StrCat("want ", gib(host_bytes), " of pinned host memory, for activations that ",
                       "wait there, got none"),
          "another --gradient_checkpointing than layer, or a smaller --tokens_per_pack; in a "
          "container its memory limit, or ulimit -l");
    }
    return absl::OkStatus();
  }
  Allocator* host_allocator() override { return &host_allocator_; }

 private:
  int index_;
  CudaAllocator allocator_, host_allocator_;
};

// Waited for as CudaEvent is.
class PinnedCopy final : public HostCopy {
 public:
  PinnedCopy(int index, std::unique_ptr<PinnedMemory> memory, size_t bytes)
      : HostCopy(memory->data(), bytes), index_(index), memory_(std::move(memory)) {
    CUDA_CHECK(cudaEventCreateWithFlags(&done_, cudaEventDisableTiming | cudaEventBlockingSync));
  }
  ~PinnedCopy() override {
    cudaEventSynchronize(done_);
    cudaEventDestroy(done_);
    if (own_stream_ != nullptr) cudaStreamDestroy(own_stream_);
  }

  void Begin(const Stream& stream, const View& view) override {
    Copy(view, static_cast<cudaStream_t>(stream.handle));
  }
  void BeginBeside(const View& view) override {
    CUDA_CHECK(cudaSetDevice(index_));
    if (own_stream_ == nullptr) {
      CUDA_CHECK(cudaStreamCreateWithFlags(&own_stream_, cudaStreamNonBlocking));
    }
    Copy(view, own_stream_);
  }
  void Wait() const override { CUDA_CHECK(cudaEventSynchronize(done_)); }

 private:
  void Copy(const View& view, cudaStream_t stream) {
    CHECK_LE(view.num_bytes(), bytes()) << "[host copy]";
    CUDA_CHECK(
        cudaMemcpyAsync(data(), view.data, view.num_bytes(), cudaMemcpyDeviceToHost, stream));
    CUDA_CHECK(cudaEventRecord(done_, stream));
  }

  const int index_;
  const std::unique_ptr<PinnedMemory> memory_;
  cudaStream_t own_stream_ = nullptr;
  cudaEvent_t done_ = nullptr;
};

// What may be wrong with a GPU that there is.
absl::Status CheckDevice(int index) {
  if (const cudaError_t error = cudaSetDevice(index); error != cudaSuccess) {
    cudaGetLastError();
    return UserError("--device",
                     absl::StrCat("want GPU ", index, ", got: ", cudaGetErrorString(error)),
                     "nvidia-smi says what is wrong with it, and who uses it; "
                     "CUDA_VISIBLE_DEVICES chooses others");
  }
  const cudaError_t error = TryMachineCode();
  if (error == cudaSuccess) return absl::OkStatus();
  cudaDeviceProp properties;
  CUDA_CHECK(cudaGetDeviceProperties(&properties, index));
  return UserError(
      "--device",
      absl::StrFormat("want a program that runs on GPU %d (%s, compute capability %d.%d), got: %s",
                      index, properties.name, properties.major, properties.minor,
                      cudaGetErrorString(error)),
      absl::StrFormat("build it with --//bazel:cuda_archs=%d%d, or with --config=archs for every "
                      "GPU that is supported",
                      properties.major, properties.minor));
}

}  // namespace

std::unique_ptr<HostCopy> CreateHostCopy(int index, size_t bytes) {
  CUDA_CHECK(cudaSetDevice(index));
  std::unique_ptr<PinnedMemory> memory = PinnedMemory::Create(bytes);
  CHECK(memory != nullptr)
      << "[memory] want " << bytes
      << " pinned bytes of host memory, got none\nHINT: checkpoints are copied there before they "
         "are written; in a container see its memory limit, and ulimit -l";
  return std::make_unique<PinnedCopy>(index, std::move(memory), bytes);
}

int DeviceCount() {
  int count = 0, driver = 0;  // 0: none is installed
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess) return count;
  cudaGetLastError();
  if (error != cudaErrorNoDevice && cudaDriverGetVersion(&driver) == cudaSuccess && driver > 0) {
    LOG_FIRST_N(WARNING, 1) << "no GPU can be used: " << cudaGetErrorString(error);
  }
  return 0;
}

absl::StatusOr<std::unique_ptr<Runtime>> OpenRuntime(int index, const RuntimeOptions& options) {
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) {
    cudaGetLastError();
    return UserError("--device", absl::StrCat("want a GPU, got: ", cudaGetErrorString(error)),
                     "is the NVIDIA driver installed, and new enough? --device=cpu needs none");
  }
  if (index >= count) {
    return UserError("--device", absl::StrCat("want GPU ", index, ", got ", count, " GPUs"),
                     "fewer ranks per node (--nproc_per_node), or see CUDA_VISIBLE_DEVICES");
  }
  RETURN_IF_ERROR(CheckDevice(index));
  cudaStream_t stream = nullptr, copy_stream = nullptr;
  CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  CUDA_CHECK(cudaStreamCreateWithFlags(&copy_stream, cudaStreamNonBlocking));
  return std::make_unique<CudaRuntime>(index, options, stream, copy_stream);
}

absl::Status FillDevice(const Stream& stream, const View& view, FillFn fill) {
  return TheStaging().Copy(fill, static_cast<char*>(view.data), view.num_bytes(),
                           static_cast<cudaStream_t>(stream.handle));
}

void CopyToDevice(const Stream& stream, const void* host, const View& view) {
  const auto copy = [host](size_t begin, size_t end, void* out) {
    std::memcpy(out, static_cast<const char*>(host) + begin, end - begin);
    return absl::OkStatus();
  };
  CHECK(cuda::FillDevice(stream, view, copy).ok());
}

void CopyQueued(const Stream& stream, const View& from, const View& to) {
  CUDA_CHECK(cudaMemcpyAsync(to.data, from.data, from.num_bytes(), cudaMemcpyDefault,
                             static_cast<cudaStream_t>(stream.handle)));
}

void CopyToHost(const Stream& stream, const View& view, void* host) {
  CUDA_CHECK(cudaMemcpyAsync(host, view.data, view.num_bytes(), cudaMemcpyDeviceToHost,
                             static_cast<cudaStream_t>(stream.handle)));
  cuda::Synchronize(stream);
}

void Synchronize(const Stream& stream) {
  CUDA_CHECK(cudaStreamSynchronize(static_cast<cudaStream_t>(stream.handle)));
}

std::unique_ptr<Event> CreateEvent() { return std::make_unique<CudaEvent>(); }

}  // namespace lockstep::cuda
