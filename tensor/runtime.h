// A device made ready to compute on: its stream, its memory, and the way there and back.
//
//   ASSIGN_OR_RETURN(const auto runtime, Runtime::Open(Device{DeviceType::kCUDA, 0}));
//   Tape tape(runtime->context());
//
// Everything that differs between builds with and without CUDA, kernels aside, is behind this
// header.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tensor/context.h"
#include "tensor/view.h"

namespace lockstep {

// GPUs that this process can use; 0 in a build without CUDA or without a driver.
int CudaDeviceCount();

struct RuntimeOptions {
  // GPUs: every tensor in memory of its own, so that a checker of memory (compute-sanitizer) sees
  // where it ends and what of it was never written. Slow.
  bool separate_blocks = false;
};

class Runtime {
 public:
  // Errors: no such GPU, a build without CUDA, a driver that is too old; with a HINT.
  static absl::StatusOr<std::unique_ptr<Runtime>> Open(Device device,
                                                       const RuntimeOptions& options = {});
  virtual ~Runtime() = default;

  const Context& context() const { return context_; }

  // "NVIDIA H200, 139.8 GiB, driver for CUDA 13.0", "cpu, 8 threads".
  virtual std::string Describe() const = 0;
  // What tells its GPU, or its part of one (MIG), from every other; "" elsewhere.
  virtual std::string gpu_id() const { return ""; }
  // Bytes that could still be allocated; what the memory plan is compared with.
  virtual int64_t FreeBytes() const = 0;
  // Takes memory in one piece each now, so that later allocations find it there. Error, with a
  // HINT: it is not there (any more).
  virtual absl::Status Reserve(int64_t device_bytes, int64_t host_bytes) = 0;

  // Host memory that the device copies from and to by itself, handed out in the order of
  // copy_stream(), a queue for such copies beside context()'s (parking.h). Null where the device
  // computes in host memory.
  virtual Allocator* host_allocator() { return nullptr; }
  Stream copy_stream() const { return copy_stream_; }

 protected:
  Stream copy_stream_;
  Context context_;
};

// Copies in the order of the stream. `view` is contiguous. CopyToDevice returns when `host` may go,
// CopyToHost when the bytes are there.
void CopyToDevice(const Stream& stream, const void* host, const View& view);
void CopyToHost(const Stream& stream, const View& view, void* host);

// Copies between contiguous views of the same bytes, in the order of the stream; both in the
// device's memory or in that of a runtime's host_allocator(). Returns at once.
void CopyQueued(const Stream& stream, const View& from, const View& to);

// Writes the bytes [begin, end) of what is copied to `out`, in host memory; called for disjoint
// ranges, whose ends are multiples of 256 bytes but for the last, from several threads at once.
using FillFn = absl::FunctionRef<absl::Status(size_t begin, size_t end, void* out)>;

// Fills a contiguous view by way of buffers that the device copies from by itself, so that `fill`
// (reading a file, converting) and the copy go on side by side; on the CPU `fill` writes in place.
// On kMeta nothing is called. An error of `fill` is handed on; the contents are then undefined.
absl::Status FillDevice(const Stream& stream, const View& view, FillFn fill);

// Waits until everything queued on the stream has happened.
void Synchronize(const Stream& stream);

// Host memory for copies that are made while the caller goes on: pinned, where a GPU writes it. It
// belongs to the copy from Begin to Wait.
class HostCopy {
 public:
  static std::unique_ptr<HostCopy> Create(Device device, size_t bytes);
  virtual ~HostCopy() = default;
  HostCopy(const HostCopy&) = delete;
  HostCopy& operator=(const HostCopy&) = delete;

  // Copies `view` (contiguous, of `bytes` bytes at most) to data(), in the order of the stream.
  virtual void Begin(const Stream& stream, const View& view) = 0;
  // The same beside whatever is queued on any stream. What wrote it has happened (Event::Wait,
  // Synchronize), and nobody writes it before Wait. From any thread; on the CPU the caller does the
  // work.
  virtual void BeginBeside(const View& view) = 0;
  // Returns when the bytes are there. From any thread.
  virtual void Wait() const = 0;

  char* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 protected:
  HostCopy(char* data, size_t bytes) : data_(data), bytes_(bytes) {}

 private:
  char* const data_;
  const size_t bytes_;
};

// A moment in a stream's order: it has passed when all that was queued before it has happened.
// On the CPU that is when Record returns.
class Event {
 public:
  static std::unique_ptr<Event> Create(Device device);
  virtual ~Event() = default;
  virtual void Record(const Stream& stream) = 0;  // may be called again, for a new moment
  virtual void Wait() = 0;                        // until it has passed; from any thread
  // What is queued on `stream` from now on waits until the recorded moment has passed.
  virtual void HoldBack(const Stream& stream) = 0;
  // Of two moments that have passed.
  virtual double SecondsSince(const Event& earlier) const = 0;
};

}  // namespace lockstep
