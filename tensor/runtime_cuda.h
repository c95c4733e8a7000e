// The CUDA side of runtime.h: runtime_cuda.cc with the toolkit, runtime_no_cuda.cc without.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "tensor/runtime.h"

namespace lockstep::cuda {

int DeviceCount();
absl::StatusOr<std::unique_ptr<Runtime>> OpenRuntime(int index, const RuntimeOptions& options);
void CopyToDevice(const Stream& stream, const void* host, const View& view);
void CopyQueued(const Stream& stream, const View& from, const View& to);
void CopyToHost(const Stream& stream, const View& view, void* host);
absl::Status FillDevice(const Stream& stream, const View& view, FillFn fill);
void Synchronize(const Stream& stream);
std::unique_ptr<HostCopy> CreateHostCopy(int index, size_t bytes);
std::unique_ptr<Event> CreateEvent();

}  // namespace lockstep::cuda
