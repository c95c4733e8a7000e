#include "tools/model_flags.h"

#include <gflags/gflags.h>

#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "tools/tool_main.h"

DEFINE_string(adapter, "", "A PEFT adapter's folder, to be used with the model.");
DEFINE_string(dtype, "", "Type of computation: fp32 or bf16. Default: bf16 on CUDA, fp32 on CPU.");
DEFINE_string(device, "auto", "auto, cpu or cuda.");
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

absl::StatusOr<ReadyModel> LoadModel(const std::string& folder) {
  if (FLAGS_num_threads < 0) return UserError("--num_threads", "want at least 1");
  if (FLAGS_num_threads > 0) SetNumThreads(FLAGS_num_threads);
  ASSIGN_OR_RETURN(const Device device, DeviceFlag());
  ASSIGN_OR_RETURN(const DType dtype, DTypeFlag(device));
  ReadyModel ready;
  ASSIGN_OR_RETURN(ready.runtime, Runtime::Open(device));
  nn::ModelOptions options;
  options.directory = folder;
  options.adapter = FLAGS_adapter.empty() ? "" : UserPath(FLAGS_adapter);
  options.training = false;
  options.compute_dtype = options.base_dtype = dtype;
  ASSIGN_OR_RETURN(ready.model, nn::Model::Load(ready.context(), options));
  for (const std::string& warning : ready.model->warnings()) {
    std::fprintf(stderr, "warning: %s\n", warning.c_str());
  }
  return ready;
}

absl::StatusOr<ReadyTokenizer> LoadTokenizer(const std::string& folder) {
  ReadyTokenizer ready;
  ASSIGN_OR_RETURN(ready.tokenizer, data::Tokenizer::Load(JoinPath(folder, "tokenizer.json"), {}));
  ASSIGN_OR_RETURN(ready.config, data::ReadTokenizerConfig(folder));
  return ready;
}

}  // namespace lockstep
