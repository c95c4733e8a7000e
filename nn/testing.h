// Small models on disk, for tests.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/testing.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "nn/model.h"
#include "tensor/kernels/testing.h"

namespace lockstep::nn {

inline nlohmann::json TinyConfig(const char* model_type) {
  return {{"model_type", model_type},
          {"vocab_size", 96},
          {"hidden_size", 32},
          {"intermediate_size", 48},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"head_dim", 8},
          {"max_position_embeddings", 64},
          {"tie_word_embeddings", false},
          {"initializer_range", 0.2},
          {"sliding_window", nullptr}};
}

inline std::unique_ptr<Model> LoadOrFail(const ModelOptions& options) {
  auto model = Model::Load(kernels::CpuContext(), options);
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *std::move(model) : nullptr;
}

// A folder with config.json and random weights.
inline std::string MakeModel(const std::string& name, const nlohmann::json& config) {
  const std::string path = FreshFolder(name);
  EXPECT_TRUE(WriteFileAtomically(path + "/config.json", config.dump()).ok());
  const auto model = LoadOrFail({.directory = path, .full = true, .random_init = true});
  EXPECT_TRUE(model != nullptr && model->Save(path, "").ok());
  return path;
}

// A folder with a random adapter (B not zero) for the model in `base`.
inline std::string MakeAdapter(const std::string& name, const std::string& base, LoraConfig lora) {
  const std::string path = FreshFolder(name);
  lora.init = LoraInit::kFalse;
  const auto model = LoadOrFail({.directory = base, .lora = lora});
  EXPECT_TRUE(model != nullptr && model->Save(path, "base").ok());
  return path;
}

// The logits of one fixed document.
inline std::vector<double> LogitsOf(Model& model) {
  const Context context = kernels::CpuContext();
  const std::vector<int32_t> ids = {1, 5, 90, 33, 2, 7, 7, 41, 60, 12, 3, 77};
  std::vector<int32_t> positions;
  for (size_t i = 0; i < ids.size(); ++i) positions.push_back(static_cast<int32_t>(i));
  const std::vector<int32_t> starts = {0, static_cast<int32_t>(ids.size())};
  const PackedTokens pack = ToDevice(context, {ids, positions, starts, {}, {}, {}});
  autograd::Tape tape(context, autograd::Tape::Mode::kForward);
  const autograd::Variable hidden = model.decoder().Hidden(tape, pack);
  return kernels::ToVector(model.decoder().Logits(tape, hidden, pack.positions));
}

inline double LargestDifference(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    worst = std::max(worst, std::abs(a[i] - b[i]));
  }
  return worst;
}

}  // namespace lockstep::nn
