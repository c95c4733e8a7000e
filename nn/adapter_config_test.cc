#include "nn/adapter_config.h"

#include "gmock/gmock.h"
#include "nn/testing.h"

namespace lockstep::nn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

absl::StatusOr<LoraConfig> Read(const nlohmann::json& object, std::vector<std::string>* warnings) {
  const std::string folder = FreshFolder("adapter_config");
  EXPECT_TRUE(WriteFileAtomically(folder + "/adapter_config.json", object.dump()).ok());
  return ReadAdapterConfig(folder, warnings);
}

TEST(AdapterConfig, WhatIsWrittenIsReadBack) {
  LoraConfig lora;
  lora.r = 8;
  lora.alpha = 16;
  lora.dropout = 0.05;
  lora.target_modules = ParseModuleSelector("q_proj,v_proj");
  lora.rank_pattern = {{"q_proj", 4}};
  lora.layers_to_transform = {0, 2};
  lora.use_dora = true;
  const std::string text = FormatAdapterConfig(lora, "org/base", {"model.layers.0.mlp.up_proj"});
  EXPECT_THAT(text, HasSubstr("{\n  \"alpha_pattern\": {},\n  \"auto_mapping\": null,"));
  EXPECT_THAT(text, HasSubstr("\"lora_alpha\": 16,"));
  EXPECT_THAT(text, HasSubstr("\"use_dora\": true"));
  EXPECT_EQ(text.find("use_rslora"), std::string::npos);
  std::vector<std::string> warnings;
  const auto back = Read(nlohmann::json::parse(text), &warnings);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_THAT(warnings, IsEmpty());
  EXPECT_EQ(FormatAdapterConfig(*back, "org/base", {}), text);
}

TEST(AdapterConfig, WhatChangesTheScaleIsWritten) {
  LoraConfig lora;
  lora.use_rslora = true;
  lora.alpha_pattern = {{"q_proj", 2.5}};
  const auto json = nlohmann::json::parse(FormatAdapterConfig(lora, "b", {}));
  EXPECT_EQ(json["use_rslora"], true);
  EXPECT_EQ(json["alpha_pattern"]["q_proj"], 2.5);
}

TEST(AdapterConfig, AllLinearIsWrittenAsNames) {
  const std::string text = FormatAdapterConfig(
      {}, "b", {"model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj", "lm_head"});
  EXPECT_EQ(nlohmann::json::parse(text)["target_modules"], nlohmann::json({"up_proj"}));
}

TEST(AdapterConfig, KeysOfNewerVersions) {
  nlohmann::json object = {
      {"peft_type", "LORA"},     {"target_modules", {"q_proj"}}, {"r", 4},
      {"qalora_group_size", 16}, {"use_future", false},          {"future_config", nullptr},
      {"future_group_size", 32}, {"peft_version", "0.99"},       {"init_lora_weights", "gaussian"}};
  std::vector<std::string> warnings;
  ASSERT_TRUE(Read(object, &warnings).ok());
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_THAT(warnings[0], HasSubstr("future_group_size"));
  object["use_future"] = true;
  EXPECT_THAT(std::string(Read(object, &warnings).status().message()), HasSubstr("use_future"));
}

TEST(AdapterConfig, RefusesByName) {
  const std::vector<std::pair<const char*, nlohmann::json>> cases = {
      {"peft_type", "IA3"},
      {"bias", "some"},
      {"lora_bias", true},
      {"layer_replication", {{0, 1}}},
      {"trainable_token_indices", {1, 2}},
      {"target_parameters", {"x"}},
      {"init_lora_weights", "loftq"},
      {"init_lora_weights", "pissa_niter_4"},
      {"use_qalora", true},
      {"use_bdlora", {{"nblocks", 2}}},
      {"alora_invocation_tokens", {3, 4}},
      {"arrow_config", {{"top_k", 3}}},
      {"kasa_config", {{"beta", 1}}},
      {"megatron_config", {{"tp", 2}}},
      {"monteclora_config", {{"n", 2}}},
      {"velora_config", {{"groups", 2}}},
      {"task_type", "SEQ_CLS"},
      {"r", 0},
      {"lora_dropout", 1.5},
      {"rank_pattern", {{"q_proj", "many"}}}};
  for (const auto& [key, value] : cases) {
    nlohmann::json object = {{"peft_type", "LORA"}, {"target_modules", {"q_proj"}}};
    object[key] = value;
    std::vector<std::string> warnings;
    const auto config = Read(object, &warnings);
    ASSERT_FALSE(config.ok()) << key;
    EXPECT_THAT(std::string(config.status().message()), HasSubstr(key));
  }
}

// What adapter_config.json of PEFT 0.2 … 0.21 holds and what changes nothing.
TEST(AdapterConfig, KeysWithoutInfluence) {
  const nlohmann::json object = {{"peft_type", "LORA"},
                                 {"task_type", nullptr},
                                 {"target_modules", {"q_proj"}},
                                 {"bias", "lora_only"},
                                 {"enable_lora", nullptr},
                                 {"merge_weights", false},
                                 {"loftq_config", nlohmann::json::object()},
                                 {"eva_config", {{"rho", 2.0}}},
                                 {"corda_config", {{"use_float16", true}}},
                                 {"megatron_config", nullptr},
                                 {"megatron_core", "megatron.core"},
                                 {"layer_replication", nullptr},
                                 {"trainable_token_indices", nullptr},
                                 {"use_qalora", false},
                                 {"runtime_config", {{"ephemeral_gpu_offload", true}}},
                                 {"auto_mapping", {{"base_model_class", "LlamaForCausalLM"}}},
                                 {"layers_pattern", ""},
                                 {"init_lora_weights", "orthogonal"}};
  std::vector<std::string> warnings;
  const auto config = Read(object, &warnings);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(warnings, IsEmpty());
  EXPECT_EQ(config->bias, "lora_only");
  nlohmann::json turned = object;
  turned["fan_in_fan_out"] = true;
  ASSERT_TRUE(Read(turned, &warnings).ok());
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("fan_in_fan_out")));
}

TEST(AdapterConfig, PatternsKeepTheirOrder) {
  const std::string folder = FreshFolder("pattern_order");
  ASSERT_TRUE(
      WriteFileAtomically(
          folder + "/adapter_config.json",
          R"({"peft_type": "LORA", "rank_pattern": {"z.*": 3, "a": 5}, "target_modules": ".*q_proj"})")
          .ok());
  std::vector<std::string> warnings;
  const auto config = ReadAdapterConfig(folder, &warnings);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->rank_pattern,
              ElementsAre(::testing::Pair("z.*", 3), ::testing::Pair("a", 5)));
  EXPECT_EQ(*config->target_modules.regex, ".*q_proj");
  LoraConfig lora = *config;
  lora.alpha_pattern = {{"q_proj", 8}, {"layers.0.*", 2.5}};
  ASSERT_TRUE(WriteFileAtomically(folder + "/adapter_config.json",
                                  FormatAdapterConfig(lora, "org/base", {}))
                  .ok());
  const auto back = ReadAdapterConfig(folder, &warnings);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->rank_pattern, lora.rank_pattern);
  EXPECT_EQ(back->alpha_pattern, lora.alpha_pattern);
}

}  // namespace
}  // namespace lockstep::nn
