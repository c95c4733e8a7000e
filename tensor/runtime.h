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

#include "absl/status/statusor.h"
#include "tensor/context.h"
#include "tensor/view.h"

namespace lockstep {

// GPUs that this process can use; 0 in a build without CUDA or without a driver.
int CudaDeviceCount();

class Runtime {
 public:
  // Errors: no such GPU, a build without CUDA, a driver that is too old; with a HINT.
  static absl::StatusOr<std::unique_ptr<Runtime>> Open(Device device);
  virtual ~Runtime() = default;

  const Context& context() const { return context_; }

  // "NVIDIA H200, 139.8 GiB, driver 580.159", "cpu, 8 threads".
  virtual std::string Describe() const = 0;
  // Bytes that could still be allocated; what the memory plan is compared with.
  virtual int64_t FreeBytes() const = 0;
  // Takes `bytes` in one piece now, so that later allocations find them there.
  virtual void Reserve(int64_t bytes) = 0;

 protected:
  Context context_;
};

// Copies in the order of the stream. `view` is contiguous. CopyToDevice returns when `host` may go,
// CopyToHost when the bytes are there.
void CopyToDevice(const Stream& stream, const void* host, const View& view);
void CopyToHost(const Stream& stream, const View& view, void* host);

// Waits until everything queued on the stream has happened.
void Synchronize(const Stream& stream);

}  // namespace lockstep
