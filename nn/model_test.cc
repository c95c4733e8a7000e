#include "nn/model.h"

#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"
#include "nn/testing.h"

namespace lockstep::nn {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(Model, SavedWeightsLoadToTheSameModel) {
  for (const char* type : {"llama", "qwen2", "qwen3", "phi3", "gemma2", "gemma3_text"}) {
    nlohmann::json config = TinyConfig(type);
    if (absl::string_view(type).substr(0, 5) == "gemma") config["sliding_window"] = 5;
    const std::string folder = MakeModel(absl::StrCat("same_", type), config);
    const auto random = LoadOrFail({.directory = folder, .full = true, .random_init = true});
    const auto loaded = LoadOrFail({.directory = folder});
    ASSERT_TRUE(random && loaded) << type;
    EXPECT_EQ(LogitsOf(*random), LogitsOf(*loaded)) << type;
    const auto other =
        LoadOrFail({.directory = folder, .full = true, .random_init = true, .seed = 7});
    EXPECT_NE(LogitsOf(*random), LogitsOf(*other)) << type;
  }
}

// Reads well until the tensor of this name.
class FailingWeights final : public WeightSource {
 public:
  FailingWeights(const ModelConfig& config, std::string name)
      : weights_(config, /*seed=*/1), name_(std::move(name)) {}
  absl::Status Fill(const Context& context, const std::string& name,
                    const Tensor& destination) const override {
    if (name == name_) return absl::DataLossError("the disk is gone: " + name);
    return weights_.Fill(context, name, destination);
  }

 private:
  const RandomWeights weights_;
  const std::string name_;
};

TEST(Model, AWeightThatCannotBeReadIsAnError) {
  const std::string folder = MakeModel("unread", TinyConfig("llama"));
  const ModelConfig config = *ReadModelConfig(folder);
  for (const bool full : {false, true}) {
    for (const char* name : {"model.embed_tokens.weight", "model.layers.1.self_attn.k_proj.weight",
                             "model.layers.0.input_layernorm.weight", "lm_head.weight"}) {
      const FailingWeights weights(config, name);
      const auto model = Model::Load(kernels::CpuContext(),
                                     {.directory = folder, .full = full, .weights = &weights});
      EXPECT_TRUE(absl::IsDataLoss(model.status())) << name << ": " << model.status();
    }
  }
}

TEST(Model, SavedAdapterLoadsToTheSameModel) {
  const std::string base = MakeModel("adapter_base", TinyConfig("llama"));
  LoraConfig lora;
  lora.r = 3;
  lora.use_rslora = true;
  lora.modules_to_save = {"lm_head"};
  lora.init = LoraInit::kFalse;
  for (const bool dora : {false, true}) {
    lora.use_dora = dora;
    const auto fresh = LoadOrFail({.directory = base, .lora = lora});
    const std::string folder = FreshFolder("adapter_same");
    ASSERT_TRUE(fresh->Save(folder, "base").ok());
    const auto loaded = LoadOrFail({.directory = base, .adapter = folder});
    ASSERT_NE(loaded, nullptr);
    EXPECT_EQ(LogitsOf(*fresh), LogitsOf(*loaded));
    const std::string again = FreshFolder("adapter_again");
    ASSERT_TRUE(loaded->Save(again, "base").ok());
    EXPECT_EQ(*ReadFile(folder + "/adapter_model.safetensors"),
              *ReadFile(again + "/adapter_model.safetensors"));
  }
}

// DoRA starts as the identity: the magnitude is the norm of its row. PiSSA moves a part of W into
// the adapter, which together are W again; saved, it belongs to the rest of W.
TEST(Model, FreshAdaptersChangeNothing) {
  const std::string base = MakeModel("fresh_base", TinyConfig("qwen2"));
  const auto plain = LoadOrFail({.directory = base});
  LoraConfig pissa;
  pissa.init = LoraInit::kPissa;
  pissa.r = 4;
  const auto moved = LoadOrFail({.directory = base, .lora = pissa});
  EXPECT_LE(LargestDifference(LogitsOf(*plain), LogitsOf(*moved)), 1e-4);
  const auto weight = [](Model& model) {
    return kernels::ToVector(model.decoder().weights().layers[0].o.weight.value());
  };
  EXPECT_GE(LargestDifference(weight(*plain), weight(*moved)), 0.05);
  const std::string folder = FreshFolder("pissa_saved");
  ASSERT_TRUE(moved->Save(folder, "base").ok());
  const auto loaded = LoadOrFail({.directory = base, .adapter = folder});
  EXPECT_LE(LargestDifference(LogitsOf(*moved), LogitsOf(*loaded)), 1e-6);
  for (const bool dora : {false, true}) {
    LoraConfig lora;
    lora.use_dora = dora;
    const auto fresh = LoadOrFail({.directory = base, .lora = lora});
    EXPECT_LE(LargestDifference(LogitsOf(*plain), LogitsOf(*fresh)), dora ? 1e-5 : 0.0);
  }
}

// It would divide by their length, which PEFT does: all logits are NaN.
TEST(Model, DoraWantsRowsThatAreNotZero) {
  nlohmann::json config = TinyConfig("llama");
  config["initializer_range"] = 0.0;
  const std::string base = MakeModel("zeros", config);
  LoraConfig lora;
  EXPECT_NE(LoadOrFail({.directory = base, .lora = lora}), nullptr);
  lora.use_dora = true;
  const auto model = Model::Load(kernels::CpuContext(), {.directory = base, .lora = lora});
  EXPECT_THAT(std::string(model.status().message()),
              HasSubstr("got zeros in row 0 of model.layers.0.self_attn.q_proj"));
}

TEST(Model, BaseStoredInHalfPrecision) {
  const std::string folder = MakeModel("half", TinyConfig("llama"));
  const auto full = LoadOrFail({.directory = folder});
  const auto half = LoadOrFail({.directory = folder, .base_dtype = DType::kBF16});
  ASSERT_NE(half, nullptr);
  EXPECT_EQ(half->decoder().weights().layers[0].qkv.weight.value().dtype(), DType::kBF16);
  const double difference = LargestDifference(LogitsOf(*full), LogitsOf(*half));
  EXPECT_GT(difference, 0);
  EXPECT_LE(difference, 0.2);
}

TEST(Model, LinearLayersInFp8) {
  const std::string folder = MakeModel("fp8", TinyConfig("qwen2"));
  const auto full = LoadOrFail({.directory = folder});
  const auto fp8 = LoadOrFail({.directory = folder, .lora = LoraConfig{}, .fp8_linear = true});
  ASSERT_NE(fp8, nullptr);
  const DecoderWeights& weights = fp8->decoder().weights();
  EXPECT_EQ(weights.embedding.value().dtype(), DType::kF32);
  EXPECT_EQ(weights.head.weight.value().dtype(), DType::kF32);
  for (const LinearWeights* linear : {&weights.layers[1].qkv, &weights.layers[1].o,
                                      &weights.layers[1].gate_up, &weights.layers[1].down}) {
    EXPECT_EQ(linear->weight.value().dtype(), DType::kU8);
    EXPECT_TRUE(linear->weight.value().SharesMemoryWith(linear->image.codes));
  }
  const double difference = LargestDifference(LogitsOf(*full), LogitsOf(*fp8));
  EXPECT_GT(difference, 0);
  EXPECT_LE(difference, 1);  // of logits up to 20
}

TEST(Model, WhatCannotBeInFp8IsRefused) {
  const std::string folder = MakeModel("no_fp8", TinyConfig("llama"));
  const auto message = [](const ModelOptions& options) {
    return std::string(Model::Load(kernels::CpuContext(), options).status().message());
  };
  LoraConfig dora, pissa;
  dora.use_dora = true;
  pissa.init = LoraInit::kPissa;
  EXPECT_THAT(message({.directory = folder, .lora = dora, .fp8_linear = true}),
              AllOf(HasSubstr("DoRA"), HasSubstr("HINT")));
  EXPECT_THAT(message({.directory = folder, .lora = pissa, .fp8_linear = true}),
              HasSubstr("PiSSA"));
  EXPECT_THAT(message({.directory = folder, .full = true, .fp8_linear = true}),
              HasSubstr("frozen"));
  nlohmann::json config = TinyConfig("llama");
  config["intermediate_size"] = 40;
  EXPECT_THAT(message({.directory = MakeModel("odd", config), .fp8_linear = true}),
              AllOf(HasSubstr("layers.0.mlp.down_proj"), HasSubstr("[32, 40]")));
}

// The memory plan: nothing is read, everything is allocated.
TEST(Model, MetaDevice) {
  const std::string folder = MakeModel("meta", TinyConfig("llama"));
  MetaAllocator allocator;
  const Context context{Stream{allocator.device()}, &allocator};
  const auto model = Model::Load(context, {.directory = folder, .lora = LoraConfig{}});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_GT(allocator.bytes_in_use(), 4 * 96 * 32);
}

}  // namespace
}  // namespace lockstep::nn
