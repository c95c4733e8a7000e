#include "nn/config.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace lockstep::nn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Kind = RopeConfig::Kind;

nlohmann::json Base(const char* model_type) {
  return {{"model_type", model_type}, {"vocab_size", 320},      {"hidden_size", 64},
          {"intermediate_size", 160}, {"num_hidden_layers", 7}, {"num_attention_heads", 4},
          {"num_key_value_heads", 2}, {"head_dim", 16},         {"max_position_embeddings", 512}};
}

ModelConfig Parse(const nlohmann::json& object) {
  const auto config = ParseModelConfig(object.dump(), "config.json");
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *config : ModelConfig{};
}

std::string ErrorOf(const nlohmann::json& object) {
  const auto config = ParseModelConfig(object.dump(), "config.json");
  EXPECT_FALSE(config.ok()) << object.dump();
  return std::string(config.status().message());
}

TEST(Config, LlamaDefaults) {
  const ModelConfig config = Parse({{"model_type", "llama"}});
  EXPECT_EQ(config.hidden_size, 4096);
  EXPECT_EQ(config.num_kv_heads, 32);
  EXPECT_EQ(config.head_dim, 128);
  EXPECT_EQ(config.num_layers(), 32);
  EXPECT_EQ(config.rms_norm_eps, 1e-6);
  EXPECT_EQ(config.ropes[0].theta, 10000.0);
  EXPECT_FALSE(config.tie_word_embeddings);
  EXPECT_FALSE(config.qkv_bias);
}

// Files leave out what is the family's default.
TEST(Config, WhetherTheHeadIsTheEmbedding) {
  for (const char* family : {"llama", "mistral", "phi3", "qwen2", "qwen3"}) {
    EXPECT_FALSE(Parse(Base(family)).tie_word_embeddings) << family;
  }
  for (const char* family : {"gemma2", "gemma3_text"}) {
    EXPECT_TRUE(Parse(Base(family)).tie_word_embeddings) << family;
  }
}

// torch.nn.Embedding trains no row for it; a file may say null, or count from the end.
TEST(Config, PadTokenId) {
  nlohmann::json llama = Base("llama"), gemma = Base("gemma2");
  EXPECT_EQ(Parse(llama).pad_token_id, -1);
  EXPECT_EQ(Parse(gemma).pad_token_id, 0);
  EXPECT_EQ(Parse({{"model_type", "phi3"}}).pad_token_id, 32000);
  gemma["pad_token_id"] = nullptr;
  EXPECT_EQ(Parse(gemma).pad_token_id, -1);
  llama["pad_token_id"] = -1;
  EXPECT_EQ(Parse(llama).pad_token_id, 319);
  llama["pad_token_id"] = 7;
  EXPECT_EQ(Parse(llama).pad_token_id, 7);
}

// The scalings that act on documents longer than max_position_embeddings must get to see some.
TEST(Config, LongestDocument) {
  nlohmann::json config = Base("llama");
  EXPECT_EQ(Parse(config).longest_document(), 512);
  config["rope_scaling"] = {{"rope_type", "dynamic"}, {"factor", 2.5}};
  EXPECT_EQ(Parse(config).longest_document(), 1280);
  config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 4.0}};
  EXPECT_EQ(Parse(config).longest_document(), 512);
  config["rope_scaling"] = {
      {"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 512}};
  EXPECT_EQ(Parse(config).longest_document(), 2048);
  config["rope_scaling"]["original_max_position_embeddings"] = 64;
  EXPECT_EQ(Parse(config).longest_document(), 512);
  config["rope_scaling"]["factor"] = 1e300;
  EXPECT_GT(Parse(config).longest_document(), 512);
}

TEST(Config, BothRopeSpellingsMeanTheSame) {
  nlohmann::json older = Base("llama"), newer = Base("llama");
  nlohmann::json scaling = {{"factor", 8.0},
                            {"low_freq_factor", 1.0},
                            {"high_freq_factor", 4.0},
                            {"original_max_position_embeddings", 64}};
  older["rope_theta"] = 5e5;
  older["rope_scaling"] = scaling;
  older["rope_scaling"]["type"] = "llama3";
  newer["rope_parameters"] = scaling;
  newer["rope_parameters"]["rope_type"] = "llama3";
  newer["rope_parameters"]["rope_theta"] = 5e5;
  for (const auto& object : {older, newer}) {
    const RopeConfig rope = Parse(object).ropes[0];
    EXPECT_EQ(rope.kind, Kind::kLlama3);
    EXPECT_EQ(rope.theta, 5e5);
    EXPECT_EQ(rope.factor, 8);
    EXPECT_EQ(rope.original_max_position_embeddings, 64);
    EXPECT_EQ(rope.rotary_dim, 16);
  }
}

TEST(Config, Phi3LongRope) {
  nlohmann::json object = Base("phi3");
  object["original_max_position_embeddings"] = 128;
  object["partial_rotary_factor"] = 0.75;
  object["rope_scaling"] = {
      {"type", "su"}, {"short_factor", {1, 1, 1, 1.5, 2, 2}}, {"long_factor", {1, 2, 3, 4, 5, 6}}};
  const RopeConfig rope = Parse(object).ropes[0];
  EXPECT_EQ(rope.kind, Kind::kLongRope);
  EXPECT_EQ(rope.rotary_dim, 12);
  EXPECT_EQ(rope.original_max_position_embeddings, 128);
  EXPECT_DOUBLE_EQ(rope.attention_factor, std::sqrt(1 + std::log(4.0) / std::log(128.0)));
  object["rope_scaling"]["long_factor"] = {1, 2};
  EXPECT_THAT(ErrorOf(object), HasSubstr("rope_scaling.long_factor: want 6 numbers, got 2"));
}

TEST(Config, Windows) {
  const auto windows = [](const nlohmann::json& object) {
    std::vector<int64_t> out;
    for (const LayerConfig& layer : Parse(object).layers) out.push_back(layer.window);
    return out;
  };
  nlohmann::json mistral = Base("mistral");
  EXPECT_EQ(windows(mistral), std::vector<int64_t>(7, 4096));
  mistral["sliding_window"] = nullptr;
  EXPECT_EQ(windows(mistral), std::vector<int64_t>(7, 0));

  nlohmann::json qwen2 = Base("qwen2");
  qwen2["sliding_window"] = 32;
  qwen2["max_window_layers"] = 5;
  EXPECT_EQ(windows(qwen2), std::vector<int64_t>(7, 0));
  qwen2["use_sliding_window"] = true;
  EXPECT_THAT(windows(qwen2), ElementsAre(0, 0, 0, 0, 0, 32, 32));

  nlohmann::json gemma2 = Base("gemma2");
  gemma2["sliding_window"] = 8;
  EXPECT_THAT(windows(gemma2), ElementsAre(8, 0, 8, 0, 8, 0, 8));

  nlohmann::json gemma3 = Base("gemma3_text");
  gemma3["sliding_window"] = 8;
  EXPECT_THAT(windows(gemma3), ElementsAre(8, 8, 8, 8, 8, 0, 8));
  gemma3["sliding_window_pattern"] = 2;
  EXPECT_THAT(windows(gemma3), ElementsAre(8, 0, 8, 0, 8, 0, 8));
}

TEST(Config, YarnsFactorMayBeNull) {
  nlohmann::json llama = Base("llama");
  llama["rope_scaling"] = {
      {"rope_type", "yarn"}, {"factor", nullptr}, {"original_max_position_embeddings", 128}};
  EXPECT_EQ(Parse(llama).ropes[0].factor, 4);
  EXPECT_DOUBLE_EQ(Parse(llama).ropes[0].attention_factor, 0.1 * std::log(4.0) + 1);
  llama["rope_scaling"]["rope_type"] = "llama3";
  EXPECT_THAT(ErrorOf(llama), HasSubstr("rope_scaling.factor: missing"));
}

TEST(Config, NamesOfOneActivation) {
  nlohmann::json llama = Base("llama");
  for (const char* name :
       {"gelu_new", "gelu_fast", "gelu_accurate", "gelu_python_tanh", "gelu_pytorch_tanh"}) {
    llama["hidden_act"] = name;
    EXPECT_EQ(Parse(llama).activation, Activation::kGeluTanh) << name;
  }
}

// As in transformers, with a warning.
TEST(Config, Gemma3TruncatesYarnsBounds) {
  nlohmann::json gemma3 = Base("gemma3_text");
  gemma3["sliding_window"] = 8;
  gemma3["rope_parameters"]["full_attention"] = {
      {"rope_type", "yarn"}, {"factor", 4.0}, {"truncate", false}};
  const ModelConfig config = Parse(gemma3);
  EXPECT_TRUE(config.ropes[0].truncate);
  EXPECT_THAT(config.warnings,
              ElementsAre("rope_parameters.full_attention.truncate has no effect in gemma3"));
}

TEST(Config, Gemma3TakesTheTextPart) {
  nlohmann::json text = Base("gemma3_text");
  text.erase("head_dim");
  text["rope_scaling"] = {{"factor", 8.0}, {"rope_type", "linear"}};
  text["final_logit_softcapping"] = 30.0;
  const ModelConfig config = Parse({{"model_type", "gemma3"},
                                    {"architectures", {"Gemma3ForConditionalGeneration"}},
                                    {"text_config", text},
                                    {"vision_config", {{"hidden_size", 1152}}},
                                    {"eos_token_id", {1, 106}}});
  EXPECT_EQ(config.head_dim, 256);
  EXPECT_TRUE(config.nested_text);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(1, 106));
  EXPECT_EQ(config.final_softcap, 0);
  EXPECT_EQ(config.warnings.size(), 1);
  EXPECT_EQ(Parse(text).final_softcap, 30);
  EXPECT_EQ(config.ropes[config.layers[5].rope].kind, Kind::kLinear);
  EXPECT_EQ(config.ropes[config.layers[5].rope].theta, 1e6);
  EXPECT_EQ(config.ropes[config.layers[0].rope].kind, Kind::kDefault);
  EXPECT_EQ(config.ropes[config.layers[0].rope].theta, 1e4);
}

TEST(Config, RefusesByName) {
  const auto refused = [](const char* type, const char* field, const nlohmann::json& value) {
    nlohmann::json object = Base(type);
    object[field] = value;
    EXPECT_THAT(ErrorOf(object), HasSubstr(field));
  };
  refused("llama", "hidden_act", "relu");
  refused("llama", "rope_scaling", {{"rope_type", "proportional"}, {"factor", 4.0}});
  refused("llama", "rope_scaling", {{"rope_type", "linear"}});
  refused("llama", "attn_logit_softcapping", 30.0);
  refused("llama", "sliding_window", 16);
  refused("llama", "attention_dropout", 0.1);
  refused("llama", "is_causal", false);
  refused("llama", "is_causal", nullptr);
  refused("llama", "quantization_config", {{"bits", 4}});
  refused("llama", "num_local_experts", 8);
  refused("llama", "hidden_size", -64);
  refused("llama", "hidden_size", 1e300);
  refused("llama", "vocab_size", "320");
  refused("llama", "num_key_value_heads", 3);
  refused("llama", "architectures", {"LlamaForSequenceClassification"});
  refused("llama", "partial_rotary_factor", 0.5);
  refused("llama", "eos_token_id", "</s>");
  refused("mistral", "layer_types", {"full_attention"});
  refused("qwen2", "layer_types", {"full_attention"});
  refused("phi3", "resid_pdrop", 0.1);
  refused("gemma2", "use_bidirectional_attention", true);
  refused("gemma3_text", "rope_scaling", {{"type", "linear"}, {"factor", 8.0}});
  EXPECT_THAT(ErrorOf({{"model_type", "mixtral"}}), HasSubstr("mixtral"));
  EXPECT_THAT(ErrorOf(nlohmann::json::object()), HasSubstr("no model_type"));
}

TEST(Config, ReportsAllProblemsAtOnce) {
  nlohmann::json object = Base("llama");
  object["hidden_act"] = "relu";
  object["mlp_bias"] = 3;
  const std::string error = ErrorOf(object);
  EXPECT_THAT(error, HasSubstr("hidden_act"));
  EXPECT_THAT(error, HasSubstr("mlp_bias"));
}

TEST(Config, FieldsThatChangeNothingPass) {
  nlohmann::json object = Base("llama");
  object.update({{"_name_or_path", "x"},
                 {"pretraining_tp", 1},
                 {"unk_token_id", 0},
                 {"rope_interleaved", false},
                 {"is_llama_config", true},
                 {"transformers.js_config", {{"dtype", "q4"}}},
                 {"unsloth_fixed", true},
                 {"torch_dtype", "bfloat16"},
                 {"activation", "swiglu"},
                 {"rope_scaling", nullptr}});
  EXPECT_EQ(Parse(object).stored_dtype, "bfloat16");
  // Gemma 2 9B's names its window twice, the first YaRN files say that they were fine-tuned.
  nlohmann::json gemma2 = Base("gemma2");
  gemma2["sliding_window_size"] = gemma2["sliding_window"] = 4096;
  gemma2["rope_scaling"] = {{"type", "yarn"}, {"factor", 16.0}, {"finetuned", true}};
  EXPECT_EQ(Parse(gemma2).layers[0].window, 4096);
}

TEST(Config, DamagedFiles) {
  for (const std::string text : {"", "{", "[]", "\"x\"", "{\"model_type\": \"llama\"", "\xff{}"}) {
    EXPECT_FALSE(ParseModelConfig(text, "config.json").ok()) << text;
  }
  EXPECT_FALSE(ParseModelConfig(std::string(100000, '['), "config.json").ok());
}

}  // namespace
}  // namespace lockstep::nn
