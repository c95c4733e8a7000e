#include "tools/compute_flags.h"

#include <gflags/gflags.h>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "tensor/runtime.h"

DEFINE_string(dtype, "", "Type of computation: fp32 or bf16. Default: bf16 on CUDA, fp32 on CPU.");
DEFINE_string(device, "auto", "cuda, cpu, or auto: cuda where there is a GPU.");
DEFINE_int32(num_threads, 0, "CPU threads; changes no bit. Default: all cores.");

namespace lockstep {
namespace {

absl::StatusOr<Device> DeviceFlag() {
  const bool cuda = FLAGS_device == "cuda" || (FLAGS_device == "auto" && CudaDeviceCount() > 0);
  if (cuda) return Device{DeviceType::kCUDA, 0};
  if (FLAGS_device == "auto" || FLAGS_device == "cpu") return Device{DeviceType::kCPU, 0};
  return UserError("--device",
                   absl::StrCat("want one of auto, cpu, cuda; got \"", FLAGS_device, "\""));
}

absl::StatusOr<DType> DTypeFlag(const Device& device) {
  if (FLAGS_dtype == "fp32") return DType::kF32;
  if (FLAGS_dtype == "bf16") return DType::kBF16;
  if (FLAGS_dtype.empty()) return device.type == DeviceType::kCUDA ? DType::kBF16 : DType::kF32;
  return UserError("--dtype", absl::StrCat("want one of fp32, bf16; got \"", FLAGS_dtype, "\""));
}

}  // namespace

absl::StatusOr<ComputeOptions> ReadComputeFlags() {
  if (FLAGS_num_threads < 0) return UserError("--num_threads", "want at least 1");
  if (FLAGS_num_threads > 0) SetNumThreads(FLAGS_num_threads);
  ASSIGN_OR_RETURN(const Device device, DeviceFlag());
  ASSIGN_OR_RETURN(const DType dtype, DTypeFlag(device));
  return ComputeOptions{device, dtype};
}

}  // namespace lockstep
