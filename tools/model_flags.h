// The flags of tools that run a model: which adapter on top, and how it is computed.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/tokenizer_config.h"
#include "nn/model.h"
#include "tensor/runtime.h"

namespace lockstep {

struct ReadyModel {
  std::unique_ptr<Runtime> runtime;
  std::unique_ptr<nn::Model> model;

  const Context& context() const { return runtime->context(); }
  const nn::Decoder& decoder() const { return model->decoder(); }
};

// The model in `folder`, not to be trained, with --adapter, --dtype, --device and --num_threads.
// What loading left alone is printed on standard error.
absl::StatusOr<ReadyModel> LoadModel(const std::string& folder);

// The tokenizer in `folder` with what its config says.
struct ReadyTokenizer {
  std::unique_ptr<const data::Tokenizer> tokenizer;
  data::TokenizerConfig config;
};
absl::StatusOr<ReadyTokenizer> LoadTokenizer(const std::string& folder);

}  // namespace lockstep
