#include "nn/merge.h"

#include "gmock/gmock.h"
#include "nn/testing.h"

namespace lockstep::nn {
namespace {

struct Case {
  const char* name;
  const char* model_type;
  bool tied;
  LoraConfig lora;
};

std::vector<Case> Cases() {
  LoraConfig plain, dora, head, lora_head;
  dora.use_dora = true;
  head.modules_to_save = {"lm_head"};
  lora_head.target_modules = ParseModuleSelector("q_proj,lm_head");
  LoraConfig lora_embedding;
  lora_embedding.target_modules = ParseModuleSelector("q_proj,embed_tokens");
  return {{"llama", "llama", false, plain},
          {"phi3", "phi3", false, plain},
          {"dora", "qwen2", false, dora},
          {"tied", "llama", true, plain},
          {"tied_head", "llama", true, head},
          {"lora_head", "llama", true, lora_head},
          {"lora_embedding", "llama", true, lora_embedding},
          {"lora_embedding_gemma", "gemma2", false, lora_embedding}};
}

TEST(Merge, EqualsBaseAndAdapter) {
  for (const Case& c : Cases()) {
    nlohmann::json config = TinyConfig(c.model_type);
    config["tie_word_embeddings"] = c.tied;
    if (config["model_type"] == "gemma2") config["sliding_window"] = 8;
    const std::string base = MakeModel("merge_base", config);
    const std::string adapter = MakeAdapter("merge_adapter", base, c.lora);
    const std::string output = FreshFolder("merged");
    const MergeOptions options{.model = base, .adapter = adapter, .output = output};
    const auto report = MergeAdapter(kernels::CpuContext(), options);
    ASSERT_TRUE(report.ok()) << c.name << report.status();
    const bool head_differs = !c.lora.modules_to_save.empty() || c.lora.target_modules.names.size();
    EXPECT_EQ(report->untied, c.tied && head_differs) << c.name;
    const auto want = LoadOrFail({.directory = base, .adapter = adapter});
    const auto got = LoadOrFail({.directory = output});
    ASSERT_TRUE(want && got) << c.name;
    EXPECT_LE(LargestDifference(LogitsOf(*want), LogitsOf(*got)), 2e-5) << c.name;
    const auto plain = LoadOrFail({.directory = base});
    EXPECT_GE(LargestDifference(LogitsOf(*want), LogitsOf(*plain)), 1e-2) << c.name;
  }
}

TEST(Merge, ShardsAndDTypes) {
  const std::string base = MakeModel("shard_base", TinyConfig("llama"));
  ASSERT_TRUE(WriteFileAtomically(base + "/tokenizer.json", "{\"a\": 1}").ok());
  ASSERT_TRUE(MakeDirectories(base + "/additional_chat_templates").ok());
  ASSERT_TRUE(WriteFileAtomically(base + "/additional_chat_templates/rag.jinja", "r").ok());
  const std::string adapter = MakeAdapter("shard_adapter", base, {});
  const std::string output = FreshFolder("shard_merged");
  const auto report = MergeAdapter(kernels::CpuContext(), {.model = base,
                                                           .adapter = adapter,
                                                           .output = output,
                                                           .dtype = DType::kBF16,
                                                           .max_shard_bytes = 10000});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_TRUE(FileExists(output + "/model.safetensors.index.json"));
  EXPECT_FALSE(FileExists(output + "/model.safetensors"));
  EXPECT_EQ(*ReadFile(output + "/tokenizer.json"), "{\"a\": 1}");
  EXPECT_EQ(*ReadFile(output + "/additional_chat_templates/rag.jinja"), "r");
  EXPECT_GT(report->largest_rounding, 0);
  const auto got = LoadOrFail({.directory = output});
  ASSERT_NE(got, nullptr);
  EXPECT_EQ(got->config().stored_dtype, "bfloat16");
  const auto probe =
      ProbeMerge(kernels::CpuContext(), {.model = base, .adapter = adapter, .output = output});
  ASSERT_TRUE(probe.ok()) << probe.status();
  EXPECT_GT(probe->largest, 0);
  EXPECT_LT(probe->mean, probe->largest);
  EXPECT_LT(probe->largest, probe->largest_effect);
}

TEST(Merge, RefusesAFolderThatHoldsAModelOrAnAdapter) {
  const std::string base = MakeModel("full_base", TinyConfig("llama"));
  const std::string adapter = MakeAdapter("full_adapter", base, {});
  for (const auto& [folder, what] :
       {std::pair(base, "a model"), std::pair(adapter, "an adapter")}) {
    const auto report =
        MergeAdapter(kernels::CpuContext(), {.model = base, .adapter = adapter, .output = folder});
    ASSERT_FALSE(report.ok());
    EXPECT_THAT(std::string(report.status().message()),
                ::testing::HasSubstr(std::string("holds ") + what));
  }
}

}  // namespace
}  // namespace lockstep::nn
