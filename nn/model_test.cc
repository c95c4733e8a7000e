#include "nn/model.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "nn/json.h"
#include "nn/safetensors.h"
#include "nn/testing.h"

namespace lockstep::nn {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(const ModelOptions& options) {
  const auto model = Model::Load(kernels::CpuContext(), options);
  EXPECT_FALSE(model.ok());
  return std::string(model.status().message());
}

// Rewrites a folder's tensors: `edit` may rename, drop (empty name) or reshape them.
void Rewrite(const std::string& folder, const std::vector<std::string>& files,
             const std::function<void(StoredTensor&)>& edit,
             const std::function<int(const std::string&)>& shard) {
  const auto source = *SafetensorsFile::Open(folder + "/model.safetensors");
  nlohmann::json index;
  for (size_t f = 0; f < files.size(); ++f) {
    SafetensorsWriter writer(folder + "/" + files[f]);
    std::map<std::string, const StoredTensor*> from;
    for (const StoredTensor& tensor : source->tensors()) {
      StoredTensor copy = tensor;
      edit(copy);
      if (copy.name.empty() || shard(copy.name) != static_cast<int>(f)) continue;
      from[copy.name] = &tensor;
      index["weight_map"][copy.name] = files[f];
      writer.Declare(copy.name, DType::kF32, copy.shape);
    }
    ASSERT_TRUE(writer.Begin({}).ok());
    for (const StoredTensor& tensor : writer.tensors()) {
      const StoredTensor* stored = from.at(tensor.name);
      const auto* data = reinterpret_cast<const char*>(source->data(*stored));
      ASSERT_TRUE(writer.Append({data, stored->bytes}).ok());
    }
    ASSERT_TRUE(writer.Finish().ok());
  }
  if (files.size() > 1) {
    std::filesystem::remove(folder + "/model.safetensors");
    ASSERT_TRUE(WriteFileAtomically(folder + "/model.safetensors.index.json", index.dump()).ok());
  }
}
int First(const std::string&) { return 0; }

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

TEST(Model, Shards) {
  const std::string folder = MakeModel("shards", TinyConfig("llama"));
  const auto whole = LoadOrFail({.directory = folder});
  Rewrite(
      folder, {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"},
      [](StoredTensor&) {},
      [](const std::string& name) { return name.find("layers.1") != std::string::npos; });
  const auto sharded = LoadOrFail({.directory = folder});
  ASSERT_NE(sharded, nullptr);
  EXPECT_EQ(LogitsOf(*whole), LogitsOf(*sharded));
  std::filesystem::remove(folder + "/model-00002-of-00002.safetensors");
  EXPECT_THAT(ErrorOf({.directory = folder}), HasSubstr("model-00002-of-00002.safetensors"));
}

TEST(Model, MultimodalFilesGiveTheirTextPart) {
  nlohmann::json text = TinyConfig("gemma3_text");
  text["sliding_window"] = 5;
  text["tie_word_embeddings"] = true;
  const std::string plain = MakeModel("text_only", text);
  const auto want = LoadOrFail({.directory = plain});
  for (const char* prefix : {"language_model.model.", "model.language_model."}) {
    const std::string folder = MakeModel("nested", text);
    Rewrite(
        folder, {"model.safetensors"},
        [&](StoredTensor& tensor) {
          tensor.name = prefix + tensor.name.substr(sizeof("model.") - 1);
        },
        First);
    const nlohmann::json config = {{"model_type", "gemma3"}, {"text_config", text}};
    ASSERT_TRUE(WriteFileAtomically(folder + "/config.json", config.dump()).ok());
    const auto nested = LoadOrFail({.directory = folder});
    ASSERT_NE(nested, nullptr) << prefix;
    EXPECT_EQ(LogitsOf(*want), LogitsOf(*nested)) << prefix;
  }
}

TEST(Model, NamesAllTensorsThatDoNotFit) {
  const std::string folder = MakeModel("broken", TinyConfig("llama"));
  Rewrite(
      folder, {"model.safetensors"},
      [](StoredTensor& tensor) {
        if (tensor.name == "model.norm.weight") tensor.name = "model.surplus.weight";
        if (tensor.name == "model.layers.1.mlp.up_proj.weight") tensor.shape = {32, 48};
      },
      First);
  const std::string error = ErrorOf({.directory = folder});
  EXPECT_THAT(error, HasSubstr("missing (1): model.norm.weight"));
  EXPECT_THAT(error, HasSubstr("surplus (1): model.surplus.weight"));
  EXPECT_THAT(error, HasSubstr("up_proj.weight want [48, 32], got [32, 48]"));
}

TEST(Model, LikelyCauses) {
  const auto error_as = [](const char* stored_as, const char* read_as, bool tied) {
    const std::string folder = MakeModel("cause", TinyConfig(stored_as));
    nlohmann::json config = TinyConfig(read_as);
    config["tie_word_embeddings"] = tied;
    EXPECT_TRUE(WriteFileAtomically(folder + "/config.json", config.dump()).ok());
    return ErrorOf({.directory = folder});
  };
  EXPECT_THAT(error_as("qwen2", "llama", false), HasSubstr("another family"));
  EXPECT_THAT(error_as("llama", "phi3", false), HasSubstr("another family"));
  const std::string folder = MakeModel("tied", TinyConfig("llama"));
  Rewrite(
      folder, {"model.safetensors"},
      [](StoredTensor& tensor) {
        if (tensor.name == "lm_head.weight") tensor.name = "";
      },
      First);
  EXPECT_THAT(ErrorOf({.directory = folder}), HasSubstr("tie_word_embeddings"));
}

TEST(Model, TiedModelsAcceptTheDuplicate) {
  const std::string folder = MakeModel("duplicate", TinyConfig("llama"));
  nlohmann::json config = TinyConfig("llama");
  config["tie_word_embeddings"] = true;
  ASSERT_TRUE(WriteFileAtomically(folder + "/config.json", config.dump()).ok());
  EXPECT_NE(LoadOrFail({.directory = folder}), nullptr);
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
