#include "base/check.h"
#include "base/status.h"
#include "tensor/runtime_cuda.h"

namespace lockstep::cuda {

int DeviceCount() { return 0; }

absl::StatusOr<std::unique_ptr<Runtime>> OpenRuntime(int index, const RuntimeOptions& options) {
  return UserError("--device", "want a GPU, but this binary was built without CUDA",
                   "install the CUDA toolkit under /usr/local/cuda (or set CUDA_HOME) and build "
                   "again, or use --device=cpu");
}

void CopyToDevice(const Stream& stream, const void* host, const View& view) {
  LOG(FATAL) << "built without CUDA";
}
void CopyToHost(const Stream& stream, const View& view, void* host) {
  LOG(FATAL) << "built without CUDA";
}
void CopyQueued(const Stream& stream, const View& from, const View& to) {
  LOG(FATAL) << "built without CUDA";
}
absl::Status FillDevice(const Stream& stream, const View& view, FillFn fill) {
  LOG(FATAL) << "built without CUDA";
}
std::unique_ptr<Event> CreateEvent() { LOG(FATAL) << "built without CUDA"; }
void Synchronize(const Stream& stream) { LOG(FATAL) << "built without CUDA"; }
std::unique_ptr<HostCopy> CreateHostCopy(int index, size_t bytes) {
  LOG(FATAL) << "built without CUDA";
}

}  // namespace lockstep::cuda
