#include "nn/weights.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
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

TEST(Weights, Shards) {
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

TEST(Weights, TheSingleFileGoesBeforeAnIndex) {
  const std::string folder = MakeModel("index_too", TinyConfig("llama"));
  ASSERT_TRUE(WriteFileAtomically(folder + "/model.safetensors.index.json",
                                  R"({"weight_map": {"x": "model-00001-of-00002.safetensors"}})")
                  .ok());
  EXPECT_NE(LoadOrFail({.directory = folder}), nullptr);
}

TEST(Weights, MultimodalFilesGiveTheirTextPart) {
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

TEST(Weights, FullTrainingKeepsTheVisionTower) {
  nlohmann::json text = TinyConfig("gemma3_text");
  text["sliding_window"] = 5;
  const std::string folder = MakeModel("tower", text);
  Rewrite(
      folder, {"model.safetensors"},
      [&](StoredTensor& tensor) {
        tensor.name = tensor.name == "model.layers.0.mlp.up_proj.weight"
                          ? "vision_tower.up_proj.weight"
                          : absl::StrReplaceAll(tensor.name, {{"model.", "language_model.model."}});
      },
      First);
  const nlohmann::json config = {
      {"model_type", "gemma3"}, {"text_config", text}, {"tie_word_embeddings", false}};
  ASSERT_TRUE(WriteFileAtomically(folder + "/config.json", config.dump()).ok());
  // A tensor of the text model is missing now: only saving is looked at.
  const auto source = *SafetensorsFile::Open(folder + "/model.safetensors");
  const StoredTensor& before = *source->Find("vision_tower.up_proj.weight");
  const std::string bytes(reinterpret_cast<const char*>(source->data(before)), before.bytes);
  const RandomWeights weights(*ReadModelConfig(folder), 1);
  const auto model = LoadOrFail({.directory = folder, .full = true, .weights = &weights});
  ASSERT_NE(model, nullptr);
  const std::string output = FreshFolder("tower_saved");
  ASSERT_TRUE(model->Save(output, "").ok());
  const auto saved = *SafetensorsFile::Open(output + "/model.safetensors");
  const StoredTensor* after = saved->Find("model.vision_tower.up_proj.weight");
  ASSERT_NE(after, nullptr);
  EXPECT_EQ(bytes, std::string(reinterpret_cast<const char*>(saved->data(*after)), after->bytes));
  EXPECT_NE(saved->Find("model.language_model.layers.0.mlp.up_proj.weight"), nullptr);
}

TEST(Weights, NamesAllTensorsThatDoNotFit) {
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

TEST(Weights, LikelyCauses) {
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

// transformers 4 passes over a tied model's lm_head.weight, 5 takes it where it differs.
TEST(Weights, ATiedHeadsOwnTensorMustBeTheEmbedding) {
  nlohmann::json config = TinyConfig("llama");
  const std::string other = MakeModel("tied_to_another", config);
  config["tie_word_embeddings"] = true;
  ASSERT_TRUE(WriteFileAtomically(other + "/config.json", config.dump()).ok());
  EXPECT_THAT(ErrorOf({.directory = other}), HasSubstr("lm_head.weight: want the values of"));

  const std::string same = MakeModel("tied_twice", config);
  const auto want = LoadOrFail({.directory = same});
  Rewrite(
      same, {"head.safetensors"},
      [](StoredTensor& tensor) {
        tensor.name = tensor.name == "model.embed_tokens.weight" ? "lm_head.weight" : "";
      },
      First);
  std::filesystem::rename(same + "/model.safetensors", same + "/body.safetensors");
  const nlohmann::json index = {
      {"weight_map", {{"lm_head.weight", "head.safetensors"}, {"model", "body.safetensors"}}}};
  ASSERT_TRUE(WriteFileAtomically(same + "/model.safetensors.index.json", index.dump()).ok());
  const auto twice = LoadOrFail({.directory = same});
  ASSERT_NE(twice, nullptr);
  EXPECT_EQ(LogitsOf(*want), LogitsOf(*twice));
}

struct RawTensor {
  std::string name, dtype;
  std::vector<int64_t> shape;
};

// The tensors of a tiny llama, edited: `edit` puts what becomes of one into `out`.
std::string ErrorOfRaw(
    const std::function<void(const RawTensor& in, std::vector<RawTensor>& out)>& edit) {
  const std::string folder = FreshFolder("raw");
  EXPECT_TRUE(WriteFileAtomically(folder + "/config.json", TinyConfig("llama").dump()).ok());
  const ModelConfig config = *ReadModelConfig(folder);
  std::vector<RawTensor> tensors;
  for (const WeightSpec& spec : WeightsOf(config, ModulesOf(config))) {
    edit({spec.name, "BF16", spec.shape}, tensors);
  }
  nlohmann::ordered_json header;
  uint64_t end = 0;
  for (const RawTensor& tensor : tensors) {
    uint64_t bytes = *StoredBits(tensor.dtype) / 8;
    for (const int64_t size : tensor.shape) bytes *= size;
    header[tensor.name] = {
        {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {end, end + bytes}}};
    end += bytes;
  }
  const std::string text = header.dump();
  const uint64_t length = text.size();
  const std::string prefix(reinterpret_cast<const char*>(&length), 8);
  EXPECT_TRUE(WriteFileAtomically(folder + "/model.safetensors",
                                  absl::StrCat(prefix, text, std::string(end, '\0')))
                  .ok());
  return ErrorOf({.directory = folder});
}

// Files as the quantizers lay them out, with config.json's quantization_config taken away.
TEST(Weights, QuantizedFilesAreNamedSo) {
  using Out = std::vector<RawTensor>;
  const auto quantize = [](const std::function<void(const RawTensor& in, Out& out)>& linear) {
    return ErrorOfRaw([&](const RawTensor& in, Out& out) {
      if (absl::StrContains(in.name, "_proj.")) {
        linear(in, out);
      } else {
        out.push_back(in);
      }
    });
  };
  const auto path = [](const RawTensor& in) { return in.name.substr(0, in.name.size() - 7); };
  const std::vector<std::function<void(const RawTensor& in, Out& out)>> layouts = {
      // bitsandbytes, nf4
      [](const RawTensor& in, Out& out) {
        const int64_t numel = in.shape[0] * in.shape[1];
        out.push_back({in.name, "U8", {numel / 2, 1}});
        out.push_back({in.name + ".absmax", "F32", {numel / 64}});
        out.push_back({in.name + ".quant_map", "F32", {16}});
        out.push_back({in.name + ".quant_state.bitsandbytes__nf4", "U8", {80}});
      },
      // bitsandbytes, int8
      [&](const RawTensor& in, Out& out) {
        out.push_back({in.name, "I8", in.shape});
        out.push_back({path(in) + ".SCB", "F32", {in.shape[0]}});
      },
      // GPTQ
      [&](const RawTensor& in, Out& out) {
        out.push_back({path(in) + ".qweight", "I32", {in.shape[1] / 8, in.shape[0]}});
        out.push_back({path(in) + ".qzeros", "I32", {1, in.shape[0] / 8}});
        out.push_back({path(in) + ".scales", "F16", {1, in.shape[0]}});
        out.push_back({path(in) + ".g_idx", "I32", {in.shape[1]}});
      },
      // AWQ
      [&](const RawTensor& in, Out& out) {
        out.push_back({path(in) + ".qweight", "I32", {in.shape[1], in.shape[0] / 8}});
        out.push_back({path(in) + ".qzeros", "I32", {1, in.shape[0] / 8}});
        out.push_back({path(in) + ".scales", "F16", {1, in.shape[0]}});
      },
      // fp8
      [&](const RawTensor& in, Out& out) {
        out.push_back({in.name, "F8_E4M3", in.shape});
        out.push_back({in.name + "_scale_inv", "F32", {1, 1}});
      },
      // mxfp4
      [&](const RawTensor& in, Out& out) {
        out.push_back({path(in) + "_blocks", "U8", {in.shape[0], in.shape[1] / 32, 16}});
        out.push_back({path(in) + "_scales", "U8", {in.shape[0], in.shape[1] / 32}});
      }};
  for (const auto& layout : layouts) EXPECT_THAT(quantize(layout), HasSubstr("quantized"));
}

TEST(Weights, OtherModelsFilesAreNamedSo) {
  using Out = std::vector<RawTensor>;
  EXPECT_THAT(ErrorOfRaw([](const RawTensor& in, Out& out) {
                out.push_back({absl::StrCat("language_model.", in.name), in.dtype, in.shape});
                if (out.size() == 1) out.push_back({"vision_tower.patch.weight", "BF16", {4, 4}});
              }),
              HasSubstr("multimodal"));
  EXPECT_THAT(ErrorOfRaw([](const RawTensor& in, Out& out) {
                if (!absl::StrContains(in.name, ".mlp.")) return out.push_back(in);
                out.push_back({absl::StrReplaceAll(in.name, {{".mlp.", ".mlp.experts.0."}}),
                               in.dtype, in.shape});
              }),
              HasSubstr("mixture of experts"));
  EXPECT_THAT(ErrorOfRaw([](const RawTensor& in, Out& out) {
                out.push_back(in);
                if (in.shape.size() == 2 && absl::StrContains(in.name, "o_proj")) {
                  out.back().shape[0] *= 2;
                }
              }),
              HasSubstr("another size"));
  EXPECT_THAT(ErrorOfRaw([](const RawTensor& in, Out& out) {
                if (!absl::StrContains(in.name, "layers.1.")) out.push_back(in);
              }),
              HasSubstr("incomplete"));
  const std::string adapter = FreshFolder("adapter_as_model");
  ASSERT_TRUE(WriteFileAtomically(adapter + "/adapter_config.json", "{}").ok());
  EXPECT_THAT(ErrorOf({.directory = adapter}), HasSubstr("adapter's folder"));
}

// Every family's files under every other family's config: another family, or a model that loads
// because its tensors have the same names and shapes.
TEST(Weights, FilesOfAnotherFamily) {
  const std::vector<const char*> families = {"llama", "mistral", "qwen2",      "qwen3",
                                             "phi3",  "gemma2",  "gemma3_text"};
  const auto config_of = [](const char* family) {
    nlohmann::json config = TinyConfig(family);
    config["sliding_window"] = 8;
    if (config["model_type"] == "llama") config.erase("sliding_window");
    return config;
  };
  for (const char* stored : families) {
    const std::string folder = MakeModel("family", config_of(stored));
    for (const char* read : families) {
      ASSERT_TRUE(WriteFileAtomically(folder + "/config.json", config_of(read).dump()).ok());
      const auto model = Model::Load(kernels::CpuContext(), {.directory = folder});
      if (model.ok()) {
        const auto is_llama = [](const std::string& name) {
          return name == "llama" || name == "mistral";
        };
        EXPECT_TRUE(std::string(stored) == read || (is_llama(stored) && is_llama(read)))
            << stored << " read as " << read;
      } else {
        EXPECT_THAT(std::string(model.status().message()), HasSubstr("another family"))
            << stored << " read as " << read;
      }
    }
  }
}

}  // namespace
}  // namespace lockstep::nn
