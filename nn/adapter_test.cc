#include "nn/adapter.h"

#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "nn/testing.h"

namespace lockstep::nn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Adapter, OfAnotherModelIsRefused) {
  const std::string base = MakeModel("right_base", TinyConfig("llama"));
  nlohmann::json wider = TinyConfig("llama");
  wider["hidden_size"] = 64;
  wider["num_hidden_layers"] = 3;
  const std::string other = MakeModel("wrong_base", wider);
  const std::string adapter = MakeAdapter("wrong_adapter", other, {});
  const auto model = Model::Load(kernels::CpuContext(), {.directory = base, .adapter = adapter});
  ASSERT_FALSE(model.ok());
  const std::string error(model.status().message());
  EXPECT_THAT(error, HasSubstr("want [16, 32], got [16, 64]"));
  EXPECT_THAT(error, HasSubstr("belongs to another base model"));
}

// What PEFT trains and this does not is said of the file that asks for it.
TEST(Adapter, WhatIsNotSupportedNamesItsFile) {
  const std::string base = MakeModel("norm_base", TinyConfig("llama"));
  const std::string adapter = MakeAdapter("norm_adapter", base, {});
  const std::string path = adapter + "/adapter_config.json";
  nlohmann::json config = nlohmann::json::parse(*ReadFile(path));
  config["modules_to_save"] = {"norm"};
  ASSERT_TRUE(WriteFileAtomically(path, config.dump()).ok());
  const auto model = Model::Load(kernels::CpuContext(), {.directory = base, .adapter = adapter});
  EXPECT_THAT(std::string(model.status().message()),
              ::testing::StartsWith("[" + path + "] [modules_to_save] want lm_head"));
}

// PEFT stores the base table beside an adapter of embed_tokens.
std::vector<float> ValuesOf(const SafetensorsFile& file, const StoredTensor& tensor) {
  std::vector<float> values(tensor.numel());
  EXPECT_TRUE(file.Read(tensor, 0, tensor.numel(), DType::kF32, values.data()).ok());
  return values;
}

using Replacements = std::vector<std::pair<std::string, std::string>>;

// Rewrites an adapter's file under other names and with a tensor more.
void EditTensors(const std::string& adapter, const Replacements& in_names, const std::string& name,
                 const std::vector<int64_t>& shape, const std::vector<float>& added) {
  const std::string path = adapter + "/adapter_model.safetensors";
  std::map<std::string, std::vector<float>> values = {{name, added}};
  SafetensorsWriter writer(path);
  {
    const auto file = *SafetensorsFile::Open(path);
    for (const StoredTensor& tensor : file->tensors()) {
      const std::string renamed = absl::StrReplaceAll(tensor.name, in_names);
      values[renamed] = ValuesOf(*file, tensor);
      writer.Declare(renamed, DType::kF32, tensor.shape);
    }
  }
  writer.Declare(name, DType::kF32, shape);
  EXPECT_TRUE(writer.Begin({}).ok());
  for (const StoredTensor& tensor : writer.tensors()) {
    const auto& bytes = values[tensor.name];
    EXPECT_TRUE(writer.Append({reinterpret_cast<const char*>(bytes.data()), tensor.bytes}).ok());
  }
  EXPECT_TRUE(writer.Finish().ok());
}
void AddTensor(const std::string& adapter, const std::string& name,
               const std::vector<int64_t>& shape, const std::vector<float>& added) {
  EditTensors(adapter, {}, name, shape, added);
}

TEST(Adapter, BaseTablesInTheFileMustBeTheModels) {
  const std::string base = MakeModel("tables_base", TinyConfig("llama"));
  LoraConfig targeted, saved;
  targeted.target_modules = ParseModuleSelector("embed_tokens");
  saved.modules_to_save = {"embed_tokens"};
  const auto weights = *SafetensorsFile::Open(base + "/model.safetensors");
  const std::vector<float> table = ValuesOf(*weights, *weights->Find("model.embed_tokens.weight"));
  std::vector<float> other = table;
  other[5] += 1;
  // The error of loading an adapter to whose own tensors `table` is added, with `rows`.
  const auto load = [&](const LoraConfig& lora, const char* module, std::vector<float> table,
                        int64_t rows) {
    const std::string adapter = MakeAdapter("tables_adapter", base, lora);
    table.resize(rows * 32);
    AddTensor(adapter, absl::StrCat("base_model.model.model.embed_tokens.", module), {rows, 32},
              table);
    return std::string(Model::Load(kernels::CpuContext(), {.directory = base, .adapter = adapter})
                           .status()
                           .message());
  };
  EXPECT_EQ(load(targeted, "base_layer.weight", table, 96), "");
  EXPECT_THAT(load(targeted, "base_layer.weight", table, 97), HasSubstr("resized"));
  EXPECT_THAT(load(targeted, "base_layer.weight", other, 96),
              HasSubstr("differs from the base model's"));
  // What is trained, under PEFT's own name for it, and what it began as.
  EXPECT_EQ(load(saved, "modules_to_save.weight", other, 96), "");
  EXPECT_EQ(load(saved, "original_module.weight", table, 96), "");
  EXPECT_THAT(load(saved, "original_module.weight", other, 96),
              HasSubstr("differs from the base model's"));
}

// all-linear and lists of names mean the vision tower's modules to PEFT, too.
TEST(Adapter, OfMultimodalModels) {
  nlohmann::json config = {{"model_type", "gemma3"}, {"text_config", TinyConfig("gemma3_text")}};
  config["text_config"]["sliding_window"] = 8;
  const std::string base = MakeModel("vision_base", config);
  const std::string adapter = MakeAdapter("vision_adapter", base, {});
  const std::string written = *ReadFile(adapter + "/adapter_config.json");
  EXPECT_THAT(written,
              HasSubstr(R"("exclude_modules": ".*(?:vision_tower|multi_modal_projector))"));

  const char* kTower = "base_model.model.model.vision_tower.layers.0.q_proj.lora_A.weight";
  AddTensor(adapter, kTower, {1, 2}, {3, 4});
  const auto model = Model::Load(kernels::CpuContext(), {.directory = base, .adapter = adapter});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_THAT((*model)->warnings(), ElementsAre(HasSubstr("1 tensors of the vision part")));
  ASSERT_TRUE((*model)->Save(adapter, "base").ok());
  EXPECT_EQ(*ReadFile(adapter + "/adapter_config.json"), written);

  // As transformers 4 named them.
  LoraConfig saved;
  saved.modules_to_save = {"lm_head", "embed_tokens"};
  const std::string older = MakeAdapter("older_adapter", base, saved);
  EditTensors(older,
              {{"model.model.language_model.", "model.language_model.model."},
               {"model.lm_head.", "model.language_model.lm_head."}},
              "base_model.model.vision_tower.vision_model.fc1.lora_A.weight", {1, 2}, {3, 4});
  EXPECT_NE(LoadOrFail({.directory = base, .adapter = older}), nullptr);

  const std::string llama = MakeModel("no_vision_base", TinyConfig("llama"));
  const std::string other = MakeAdapter("no_vision_adapter", llama, {});
  AddTensor(other, kTower, {1, 2}, {3, 4});
  EXPECT_THAT(
      Model::Load(kernels::CpuContext(), {.directory = llama, .adapter = other}).status().message(),
      HasSubstr(absl::StrCat("surplus: ", kTower)));
}

TEST(Adapter, FilesHavePeftsNames) {
  const std::string base = MakeModel("names_base", TinyConfig("phi3"));
  const std::string adapter = MakeAdapter("names_adapter", base, {});
  const auto file = *SafetensorsFile::Open(adapter + "/adapter_model.safetensors");
  EXPECT_NE(file->Find("base_model.model.model.layers.1.self_attn.qkv_proj.lora_A.weight"),
            nullptr);
  EXPECT_NE(file->Find("base_model.model.model.layers.0.mlp.gate_up_proj.lora_B.weight"), nullptr);
  EXPECT_EQ(file->metadata().at("format"), "pt");
}

}  // namespace
}  // namespace lockstep::nn
