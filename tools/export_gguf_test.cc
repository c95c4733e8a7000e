#include <cstring>
#include <filesystem>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/file_lock.h"
#include "base/testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "nn/safetensors.h"
#include "tools/testing.h"

namespace lockstep {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

struct Tensor {
  std::vector<uint64_t> sizes;  // innermost first
  uint32_t type = 0;
  uint64_t offset = 0;
};

// Reads a GGUF file by the format's description.
class Gguf {
 public:
  explicit Gguf(const std::string& path) : bytes_(*ReadFile(path)) {
    EXPECT_EQ(bytes_.substr(0, 4), "GGUF");
    at_ = 4;
    EXPECT_EQ(Get<uint32_t>(), 3);
    const auto num_tensors = Get<uint64_t>(), num_values = Get<uint64_t>();
    for (uint64_t i = 0; i < num_values; ++i) {
      const std::string key = String();
      values_[key] = Value(Get<uint32_t>());
    }
    for (uint64_t i = 0; i < num_tensors; ++i) {
      const std::string name = String();
      Tensor tensor;
      for (auto rank = Get<uint32_t>(); rank > 0; --rank) tensor.sizes.push_back(Get<uint64_t>());
      tensor.type = Get<uint32_t>();
      tensor.offset = Get<uint64_t>();
      tensors_[name] = tensor;
    }
    data_ = (at_ + 31) / 32 * 32;
  }

  // Values as text; of lists the length and the first.
  const std::string& value(const std::string& key) { return values_[key]; }
  const std::map<std::string, Tensor>& tensors() const { return tensors_; }
  float F32(const std::string& name, int64_t i) const {
    float value;
    std::memcpy(&value, bytes_.data() + data_ + tensors_.at(name).offset + 4 * i, 4);
    return value;
  }

 private:
  template <typename T>
  T Get() {
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof(value));
    at_ += sizeof(value);
    return value;
  }
  std::string String() {
    const auto size = Get<uint64_t>();
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }
  std::string Value(uint32_t type) {
    if (type == 4) return absl::StrCat(Get<uint32_t>());
    if (type == 5) return absl::StrCat(Get<int32_t>());
    if (type == 6) return absl::StrCat(Get<float>());
    if (type == 7) return Get<uint8_t>() != 0 ? "true" : "false";
    if (type == 8) return String();
    EXPECT_EQ(type, 9);
    const auto element = Get<uint32_t>();
    const auto count = Get<uint64_t>();
    std::string first;
    for (uint64_t i = 0; i < count; ++i) {
      const std::string value = Value(element);
      if (i == 0) first = value;
    }
    return absl::StrCat(count, ": ", first);
  }

  std::string bytes_;
  size_t at_ = 0, data_ = 0;
  std::map<std::string, std::string> values_;
  std::map<std::string, Tensor> tensors_;
};

class ExportGgufTest : public ::testing::Test {
 protected:
  void SetUp() override {
    model_ = FreshFolder("model");
    WriteTinyModel(model_);
    output_ = JoinPath(FreshFolder("out"), "model.gguf");
  }
  ToolResult Export(std::vector<std::string> arguments) {
    arguments.push_back("--model=" + model_);
    arguments.push_back("--output=" + output_);
    return RunTool("export_gguf", arguments);
  }
  float Weight(const std::string& folder, const std::string& name, int64_t i) {
    const auto file = nn::SafetensorsFile::Open(JoinPath(folder, "model.safetensors"));
    float value = 0;
    EXPECT_TRUE((*file)->Read(*(*file)->Find(name), i, i + 1, DType::kF32, &value).ok());
    return value;
  }
  std::string model_, output_;
};

TEST_F(ExportGgufTest, WritesConfigTokenizerAndTensors) {
  const ToolResult result = Export({"--type=f32"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  Gguf file(output_);
  EXPECT_EQ(file.value("general.architecture"), "llama");
  EXPECT_EQ(file.value("general.type"), "model");
  EXPECT_EQ(file.value("general.name"), "model");
  EXPECT_EQ(file.value("general.size_label"), "78K");
  EXPECT_EQ(file.value("general.file_type"), "0");
  EXPECT_EQ(file.value("llama.block_count"), "2");
  EXPECT_EQ(file.value("llama.attention.head_count_kv"), "2");
  EXPECT_EQ(file.value("llama.rope.dimension_count"), "16");
  EXPECT_EQ(file.value("llama.rope.freq_base"), "10000");
  EXPECT_EQ(file.value("tokenizer.ggml.model"), "gpt2");
  EXPECT_EQ(file.value("tokenizer.ggml.pre"), "gpt-2");
  EXPECT_EQ(file.value("tokenizer.ggml.tokens"), "260: <s>");
  EXPECT_EQ(file.value("tokenizer.ggml.token_type"), "260: 3");
  EXPECT_EQ(file.value("tokenizer.ggml.eos_token_id"), "3");
  EXPECT_EQ(file.value("tokenizer.ggml.add_bos_token"), "false");
  EXPECT_THAT(file.value("tokenizer.chat_template"), HasSubstr("<|im_start|>"));

  EXPECT_EQ(file.tensors().size(), 2 + 2 * 9);  // a tied head is not there
  const Tensor& down = file.tensors().at("blk.1.ffn_down.weight");
  EXPECT_EQ(down.sizes, (std::vector<uint64_t>{96, 64}));
  EXPECT_EQ(file.F32("blk.1.ffn_down.weight", 77),
            Weight(model_, "model.layers.1.mlp.down_proj.weight", 77));
  EXPECT_EQ(file.F32("token_embd.weight", 12345),
            Weight(model_, "model.embed_tokens.weight", 12345));
  // Row 2·i of a head is row i, row 2·i + 1 is row 8 + i. Heads of 16 rows, 64 wide.
  const std::string q = "model.layers.0.self_attn.q_proj.weight";
  EXPECT_EQ(file.F32("blk.0.attn_q.weight", (16 + 2 * 3) * 64 + 5), Weight(model_, q, 19 * 64 + 5));
  EXPECT_EQ(file.F32("blk.0.attn_q.weight", (16 + 2 * 3 + 1) * 64), Weight(model_, q, 27 * 64));
  EXPECT_EQ(file.F32("blk.0.attn_v.weight", 7 * 64),
            Weight(model_, "model.layers.0.self_attn.v_proj.weight", 7 * 64));
}

TEST_F(ExportGgufTest, WritesTheOtherTypes) {
  for (const auto& [type, code] :
       std::map<std::string, uint32_t>{{"f16", 1}, {"bf16", 30}, {"q8_0", 8}}) {
    ASSERT_EQ(Export({"--type=" + type}).exit_code, 0) << type;
    const Gguf file(output_);
    EXPECT_EQ(file.tensors().at("blk.0.ffn_up.weight").type, code);
    EXPECT_EQ(file.tensors().at("blk.0.ffn_norm.weight").type, 0);
  }
}

TEST_F(ExportGgufTest, TokensThatLookSpecialAreControl) {
  const std::string path = JoinPath(model_, "tokenizer.json");
  for (const auto& [text, type] : std::map<std::string, std::string>{
           {"<|fim|>", "3"}, {"<｜tool｜>", "3"}, {"<tool_call>", "4"}}) {
    json file = json::parse(*ReadFile(path));
    file["added_tokens"][0]["content"] = text;
    file["added_tokens"][0]["special"] = false;
    json vocab = json::object();
    for (const auto& [token, id] : file["model"]["vocab"].items()) {
      vocab[id == 0 ? text : token] = id;
    }
    file["model"]["vocab"] = vocab;
    ASSERT_TRUE(WriteFileAtomically(path, file.dump()).ok());
    ASSERT_EQ(Export({}).exit_code, 0);
    EXPECT_EQ(Gguf(output_).value("tokenizer.ggml.token_type"), "260: " + type) << text;
  }
}

TEST_F(ExportGgufTest, NamesWhatCutsWords) {
  const std::string path = JoinPath(model_, "tokenizer.json");
  const std::string end = R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
  const std::string letters = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]",
                    small = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]", mark = R"([^\r\n\p{L}\p{N}]?)",
                    endings = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
  const auto tekken = [&](const std::string& ending, const std::string& digits) {
    return mark + letters + "*" + small + "+" + ending + "|" + mark + letters + "+" + small + "*" +
           ending + "|" + digits + R"(| ?[^\s\p{L}\p{N}]+[\r\n/]*)" + end;
  };
  const auto llama = [&](const std::string& digits) {
    return endings + "|" + mark + "\\p{L}+|" + digits + R"(| ?[^\s\p{L}\p{N}]+[\r\n]*)" + end;
  };
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"llama-bpe", {llama(R"(\p{N}{1,3})")}},
      {"qwen2", {llama(R"(\p{N})")}},
      {"tekken", {tekken("", R"(\p{N})")}},
      {"default", {tekken(endings + "?", R"(\p{N}{1,3})")}},
      {"deepseek-coder", {"[\r\n]", R"(\s?\p{L}+)", R"(\s?\p{P}+)", "[一-龥ࠀ-一가-퟿]+"}},
      {"deepseek-llm",
       {"[\r\n]", R"(\s?[A-Za-zµÀ-ÖØ-öø-ƺ]+)", R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)", R"(\s+$)",
        "[一-龥ࠀ-一가-퟿]+"}},
      {"default", {"[\r\n]", R"(\s?\p{L}+)"}},
  };
  const json file = json::parse(*ReadFile(path));
  for (const auto& [name, expressions] : cases) {
    json parts = json::array(), changed = file;
    for (const std::string& expression : expressions) {
      parts.push_back({{"type", "Split"},
                       {"pattern", {{"Regex", expression}}},
                       {"behavior", "Isolated"},
                       {"invert", false}});
    }
    parts.push_back({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}});
    changed["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", parts}};
    ASSERT_TRUE(WriteFileAtomically(path, changed.dump()).ok());
    const ToolResult result = Export({"--type=f32"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(Gguf(output_).value("tokenizer.ggml.pre"), name) << parts;
    EXPECT_EQ(result.err.empty(), name != "default") << result.err;
  }
}

TEST_F(ExportGgufTest, AnAdapterIsMerged) {
  const std::string adapter = FreshFolder("adapter");
  WriteTinyAdapter(model_, adapter);
  // As a killed process leaves one; and one that a living process reads, of whatever host.
  const std::string left = output_ + ".merged-for-export-left",
                    others = output_ + ".merged-for-export-others";
  ASSERT_TRUE(MakeDirectories(left).ok());
  ASSERT_TRUE(MakeDirectories(others).ok());
  FileLock lock;
  ASSERT_TRUE(lock.TakeFolder(others, 0).value_or(false));
  const ToolResult result = Export({"--type=f32", "--adapter=" + adapter});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const std::string v = "model.layers.0.self_attn.v_proj.weight";
  EXPECT_NE(Gguf(output_).F32("blk.0.attn_v.weight", 0), Weight(model_, v, 0));
  EXPECT_EQ(Gguf(output_).F32("token_embd.weight", 0),
            Weight(model_, "model.embed_tokens.weight", 0));
  EXPECT_TRUE(FileExists(others));
  for (const std::string& name : NamesIn(std::filesystem::path(output_).parent_path().string())
                                     .value_or(std::vector<std::string>())) {
    if (!absl::StrContains(name, ".merged")) continue;
    EXPECT_EQ(name, std::filesystem::path(others).filename().string());
  }
}

TEST_F(ExportGgufTest, WritesOverAGgufFileAndNothingElse) {
  ASSERT_EQ(Export({}).exit_code, 0);
  EXPECT_EQ(Export({"--type=f32"}).exit_code, 0);
  ASSERT_TRUE(WriteFileAtomically(output_, "").ok());
  EXPECT_EQ(Export({}).exit_code, 0);
  ASSERT_TRUE(WriteFileAtomically(output_, "abc").ok());
  for (const std::string& path : {JoinPath(model_, "model.safetensors"), output_}) {
    const std::string before = *ReadFile(path);
    const ToolResult other = RunTool("export_gguf", {"--model=" + model_, "--output=" + path});
    EXPECT_EQ(other.exit_code, 1);
    EXPECT_THAT(other.err, HasSubstr(path + " is there already, and no GGUF file"));
    EXPECT_EQ(*ReadFile(path), before);
  }
}

TEST_F(ExportGgufTest, SaysWhatIsWrong) {
  EXPECT_THAT(Export({"--type=q4_0"}).err, HasSubstr("want one of f32, f16, bf16, q8_0"));
  EXPECT_FALSE(FileExists(output_));
  EXPECT_EQ(RunTool("export_gguf", {"--model=" + model_}).exit_code, 1);
  const std::string config = *ReadFile(JoinPath(model_, "config.json"));
  std::string other = config;
  other.replace(other.find("\"llama\""), 7, "\"gemma\"");
  ASSERT_TRUE(WriteFileAtomically(JoinPath(model_, "config.json"), other).ok());
  const ToolResult family = Export({});
  EXPECT_EQ(family.exit_code, 1);
  EXPECT_THAT(family.err, HasSubstr("model_type"));
  other = config;
  other.replace(other.find("\"silu\""), 6, "\"gelu_new\"");
  ASSERT_TRUE(WriteFileAtomically(JoinPath(model_, "config.json"), other).ok());
  EXPECT_THAT(Export({}).err, HasSubstr("hidden_act"));
}

}  // namespace
}  // namespace lockstep
