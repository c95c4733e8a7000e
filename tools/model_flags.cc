#include "tools/model_flags.h"

#include <gflags/gflags.h>

#include <cstdio>

#include "base/file.h"
#include "base/status.h"
#include "tools/compute_flags.h"
#include "trainer/flags/user_path.h"

DEFINE_string(adapter, "", "A PEFT adapter's folder, to be used with the model.");

namespace lockstep {

absl::StatusOr<ReadyModel> LoadModel(const std::string& folder) {
  ASSIGN_OR_RETURN(const ComputeOptions compute, ReadComputeFlags());
  ReadyModel ready;
  ASSIGN_OR_RETURN(ready.runtime, Runtime::Open(compute.device));
  nn::ModelOptions options;
  options.directory = folder;
  options.adapter = UserPath(FLAGS_adapter);
  options.training = false;
  options.compute_dtype = options.base_dtype = compute.dtype;
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
