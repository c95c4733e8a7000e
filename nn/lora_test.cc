#include "nn/lora.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nn/trainable.h"

namespace lockstep::nn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

ModelConfig Config(bool fused = false) {
  ModelConfig config;
  config.hidden_size = 8;
  config.intermediate_size = 16;
  config.vocab_size = 32;
  config.num_heads = 2;
  config.num_kv_heads = 1;
  config.head_dim = 4;
  config.fused_projections = fused;
  config.layers.resize(2);
  return config;
}

std::vector<std::string> Selected(const LoraConfig& lora, bool fused = false) {
  const std::vector<std::string> paths = AdapterPaths(ModulesOf(Config(fused)));
  const auto targets = ResolveTargets(lora, paths);
  EXPECT_TRUE(targets.ok()) << targets.status();
  std::vector<std::string> out;
  for (size_t i = 0; targets.ok() && i < paths.size(); ++i) {
    if ((*targets)[i]) out.push_back(paths[i]);
  }
  return out;
}

LoraConfig With(const char* selector) {
  LoraConfig lora;
  lora.target_modules = ParseModuleSelector(selector);
  return lora;
}

TEST(Lora, SelectsAsPeftDoes) {
  EXPECT_THAT(Selected(With("q_proj")),
              ElementsAre("model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"));
  EXPECT_THAT(Selected(With("model.layers.1.self_attn.q_proj")),
              ElementsAre("model.layers.1.self_attn.q_proj"));
  EXPECT_EQ(Selected(With("all-linear")).size(), 14u);
  EXPECT_EQ(Selected(With("all-linear"), /*fused=*/true).size(), 8u);
  EXPECT_THAT(Selected(With("lm_head")), ElementsAre("lm_head"));
  EXPECT_THAT(Selected(With("model\\.layers\\.0\\.self_attn\\.[qv]_proj")),
              ElementsAre("model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj"));
  const auto part = ResolveTargets(With("model\\.layers\\.0\\.self_attn\\.[qv]"),
                                   AdapterPaths(ModulesOf(Config(false))));
  EXPECT_FALSE(part.ok()) << "an expression matches a whole path, not its beginning";
  EXPECT_THAT(Selected(With("embed_tokens")), ElementsAre("model.embed_tokens"));
  // A suffix starts at a dot; an expression covers the whole path.
  EXPECT_THAT(Selected(With(".*layers\\.1.*(up|down)_proj")),
              ElementsAre("model.layers.1.mlp.up_proj", "model.layers.1.mlp.down_proj"));
  EXPECT_FALSE(ResolveTargets(With("proj"), LinearPaths(ModulesOf(Config()))).ok());
  EXPECT_FALSE(ResolveTargets(With("(up|down)_proj"), LinearPaths(ModulesOf(Config()))).ok());
}

TEST(Lora, ExcludesAndLayers) {
  LoraConfig lora = With("q_proj,v_proj");
  lora.exclude_modules = ParseModuleSelector("v_proj");
  lora.layers_to_transform = {1};
  EXPECT_THAT(Selected(lora), ElementsAre("model.layers.1.self_attn.q_proj"));
  lora.layers_pattern = {"layers"};
  EXPECT_THAT(Selected(lora), ElementsAre("model.layers.1.self_attn.q_proj"));
  lora.layers_pattern = {"h"};
  EXPECT_FALSE(ResolveTargets(lora, LinearPaths(ModulesOf(Config()))).ok());
  // A whole path is meant, whatever its layer.
  lora = With("q_proj,lm_head,model.layers.0.mlp.up_proj");
  lora.layers_to_transform = {1};
  EXPECT_THAT(Selected(lora), ElementsAre("model.layers.0.mlp.up_proj",
                                          "model.layers.1.self_attn.q_proj", "lm_head"));
  lora = With("all-linear");
  lora.modules_to_save = {"lm_head"};
  EXPECT_EQ(Selected(lora).size(), 14u);
}

TEST(Lora, RanksAndScales) {
  LoraConfig lora = With("q_proj,up_proj");
  lora.r = 4;
  lora.alpha = 8;
  lora.rank_pattern = {{"up_proj", 16}, {"layers.0.self_attn.q_proj", 2}};
  lora.alpha_pattern = {{"q_pro.", 32}};
  const std::vector<std::string> paths = {"model.layers.0.self_attn.q_proj",
                                          "model.layers.1.self_attn.q_proj",
                                          "model.layers.1.mlp.up_proj"};
  auto targets = *ResolveTargets(lora, paths);
  EXPECT_EQ(targets[0]->r, 2);
  EXPECT_EQ(targets[0]->scale, 16);
  EXPECT_EQ(targets[1]->r, 4);
  EXPECT_EQ(targets[1]->scale, 8);
  EXPECT_EQ(targets[2]->r, 16);
  EXPECT_EQ(targets[2]->scale, 0.5);
  lora.use_rslora = true;
  EXPECT_EQ((*ResolveTargets(lora, paths))[2]->scale, 2);
}

// PEFT passes over what matches nothing; a person may have misspelled it.
TEST(Lora, NamesThatMatchNothingAreFound) {
  const std::vector<std::string> paths = LinearPaths(ModulesOf(Config()));
  LoraConfig lora = With("q_proj,v_porj");
  lora.rank_pattern = {{"q_proj", 4}, {"v_proj", 4}};  // v_proj is no target
  lora.alpha_pattern = {{"layers.0.*", 8}, {"layers.9.*", 8}};
  EXPECT_THAT(*IdleNames(lora, paths),
              ElementsAre("target_modules: no adapter is at \"v_porj\"",
                          "rank_pattern: no adapter is at \"v_proj\"",
                          "alpha_pattern: no adapter is at \"layers.9.*\""));
  EXPECT_THAT(*IdleNames(With("all-linear"), paths), ElementsAre());
  lora = With("q_proj");
  lora.layers_to_transform = {99};
  EXPECT_THAT(std::string(ResolveTargets(lora, paths).status().message()),
              HasSubstr("matches \"q_proj\" in layers 99 (layers_to_transform)"));
}

TEST(Lora, BadOptions) {
  const std::vector<std::string> paths = LinearPaths(ModulesOf(Config()));
  EXPECT_THAT(std::string(ResolveTargets(With("q_(proj"), paths).status().message()),
              HasSubstr("not a regular expression"));
  LoraConfig lora;
  lora.r = 0;
  EXPECT_THAT(std::string(ResolveTargets(lora, paths).status().message()), HasSubstr("rank"));
  lora.r = 4;
  lora.modules_to_save = {"norm"};
  EXPECT_FALSE(TrainableOf(lora, Config(), ModulesOf(Config())).ok());
}

// What PEFT can and this cannot, by name; the same options where they say nothing are fine.
TEST(Lora, RefusedCombinations) {
  const auto error = [](const LoraConfig& lora, const ModelConfig& config) {
    return std::string(TrainableOf(lora, config, ModulesOf(config)).status().message());
  };
  LoraConfig dora = With("lm_head");
  dora.use_dora = true;
  EXPECT_EQ(error(dora, Config()), "");
  dora.dropout = 0.1;
  EXPECT_THAT(error(dora, Config()), HasSubstr("lm_head cannot have DoRA together with dropout"));
  dora.target_modules = ParseModuleSelector("embed_tokens");
  EXPECT_THAT(error(dora, Config()), HasSubstr("embed_tokens cannot have DoRA"));
  LoraConfig plus = With("embed_tokens");
  plus.loraplus_lr_ratio = 16;
  EXPECT_THAT(error(plus, Config()), HasSubstr("loraplus_lr_embedding"));
  ModelConfig biased = Config(), tied = Config();
  biased.qkv_bias = true;
  tied.tie_word_embeddings = true;
  LoraConfig pissa = With("lm_head");
  pissa.init = LoraInit::kPissa;
  pissa.r = 5;
  EXPECT_EQ(error(pissa, Config()), "");
  EXPECT_THAT(error(pissa, tied), HasSubstr("lm_head cannot have PiSSA in a tied model"));
  pissa = With("q_proj,k_proj");
  pissa.init = LoraInit::kPissa;
  pissa.r = 5;
  EXPECT_THAT(error(pissa, Config()),
              HasSubstr("layers.0.self_attn.k_proj: PiSSA takes singular "
                        "vectors of a matrix [4, 8]: want at most 4, got 5"));
  pissa.rank_pattern = {{"k_proj", 4}};
  EXPECT_EQ(error(pissa, Config()), "");
  pissa.alpha_pattern = {{"k_proj", -1}};
  EXPECT_THAT(error(pissa, Config()),
              HasSubstr("layers.0.self_attn.k_proj: PiSSA divides by the adapter's scale: want one "
                        "above 0, got -0.25"));
  pissa.alpha_pattern.clear();
  pissa.alpha = 0;
  EXPECT_THAT(error(pissa, Config()), HasSubstr("want one above 0, got 0"));
  LoraConfig bias = With("q_proj");
  bias.bias = "lora_only";
  EXPECT_THAT(error(bias, biased), HasSubstr("bias"));
  EXPECT_EQ(error(bias, Config()), "");
  LoraConfig tying = With("q_proj");
  tying.ensure_weight_tying = true;
  EXPECT_EQ(error(tying, tied), "");
  tying.modules_to_save = {"embed_tokens"};
  EXPECT_EQ(error(tying, Config()), "");
  EXPECT_THAT(error(tying, tied), HasSubstr("ensure_weight_tying"));
}

// Reverse layer order, A of merged modules side by side, LoRA+ on B.
TEST(Lora, OrderOfParameters) {
  LoraConfig lora = With("q_proj,k_proj,down_proj");
  lora.modules_to_save = {"embed_tokens"};
  lora.loraplus_lr_ratio = 16;
  const Trainable trainable = *TrainableOf(lora, Config(), ModulesOf(Config()));
  std::vector<std::string> names;
  for (const ParameterSpec& spec : trainable.specs) names.push_back(spec.name);
  EXPECT_THAT(names, ElementsAre("model.layers.1.mlp.down_proj.lora_A.weight",
                                 "model.layers.1.mlp.down_proj.lora_B.weight",
                                 "model.layers.1.self_attn.q_proj.lora_A.weight",
                                 "model.layers.1.self_attn.k_proj.lora_A.weight",
                                 "model.layers.1.self_attn.q_proj.lora_B.weight",
                                 "model.layers.1.self_attn.k_proj.lora_B.weight",
                                 "model.layers.0.mlp.down_proj.lora_A.weight",
                                 "model.layers.0.mlp.down_proj.lora_B.weight",
                                 "model.layers.0.self_attn.q_proj.lora_A.weight",
                                 "model.layers.0.self_attn.k_proj.lora_A.weight",
                                 "model.layers.0.self_attn.q_proj.lora_B.weight",
                                 "model.layers.0.self_attn.k_proj.lora_B.weight",
                                 "model.embed_tokens.weight"));
  EXPECT_EQ(trainable.specs[0].learning_rate_ratio, 1);
  EXPECT_EQ(trainable.specs[1].learning_rate_ratio, 16);
  EXPECT_THAT(trainable.specs[0].shape, ElementsAre(16, 16));
}

}  // namespace
}  // namespace lockstep::nn
