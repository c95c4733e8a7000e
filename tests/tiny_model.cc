#include "tests/tiny_model.h"

#include <cstring>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/file.h"
#include "base/hash.h"
#include "nn/safetensors.h"
#include "tests/trainer_process.h"

namespace lockstep {
namespace {

constexpr int64_t kVocab = 97, kWidth = 32, kHeads = 4, kKvHeads = 2, kLayers = 2;
constexpr int64_t kHeadDim = kWidth / kHeads;

// Deterministic, in [0, 1).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  double Next() {
    state_ = MixKeys(state_, 0x5EED);
    return static_cast<double>(state_ >> 11) * 0x1p-53;
  }
  int64_t Below(int64_t bound) { return static_cast<int64_t>(Next() * static_cast<double>(bound)); }

 private:
  uint64_t state_;
};

void DeclareTensors(nn::SafetensorsWriter* writer, int64_t mlp) {
  const auto declare = [&](const std::string& name, std::vector<int64_t> shape) {
    writer->Declare(name, DType::kF32, std::move(shape));
  };
  declare("model.embed_tokens.weight", {kVocab, kWidth});
  declare("model.norm.weight", {kWidth});
  declare("lm_head.weight", {kVocab, kWidth});
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    const std::string at = absl::StrCat("model.layers.", layer, ".");
    declare(at + "input_layernorm.weight", {kWidth});
    declare(at + "post_attention_layernorm.weight", {kWidth});
    declare(at + "self_attn.q_proj.weight", {kHeads * kHeadDim, kWidth});
    declare(at + "self_attn.k_proj.weight", {kKvHeads * kHeadDim, kWidth});
    declare(at + "self_attn.v_proj.weight", {kKvHeads * kHeadDim, kWidth});
    declare(at + "self_attn.o_proj.weight", {kWidth, kHeads * kHeadDim});
    declare(at + "mlp.gate_proj.weight", {mlp, kWidth});
    declare(at + "mlp.up_proj.weight", {mlp, kWidth});
    declare(at + "mlp.down_proj.weight", {kWidth, mlp});
  }
}

}  // namespace

void WriteTinyModel(const std::string& folder, uint64_t seed, int64_t mlp) {
  CHECK(MakeDirectories(folder).ok());
  const std::string config = absl::StrCat(
      R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":)", kVocab,
      R"(,"hidden_size":)", kWidth, R"(,"intermediate_size":)", mlp, R"(,"num_hidden_layers":)",
      kLayers, R"(,"num_attention_heads":)", kHeads, R"(,"num_key_value_heads":)", kKvHeads,
      R"(,"max_position_embeddings":512,"rms_norm_eps":1e-5,"rope_theta":10000.0,)",
      R"("hidden_act":"silu","tie_word_embeddings":false,"bos_token_id":1,"eos_token_id":2,)",
      R"("torch_dtype":"float32"})");
  CHECK(WriteFileAtomically(JoinPath(folder, "config.json"), config).ok());

  nn::SafetensorsWriter writer(JoinPath(folder, "model.safetensors"));
  DeclareTensors(&writer, mlp);
  CHECK(writer.Begin({{"format", "pt"}}).ok());
  Random random(seed);
  for (const nn::StoredTensor& tensor : writer.tensors()) {
    std::vector<float> values(tensor.numel());
    const bool is_norm = absl::StrContains(tensor.name, "norm");
    for (float& value : values) {
      value = static_cast<float>((is_norm ? 1.0 : 0.0) + 0.4 * (random.Next() - 0.5));
    }
    CHECK(
        writer.Append({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)})
            .ok());
  }
  CHECK(writer.Finish().ok());
}

void SetWeights(const std::string& folder, const std::string& tensor, int row, float value) {
  const std::string path = JoinPath(folder, "model.safetensors");
  std::string bytes = *ReadFile(path);
  const auto file = nn::SafetensorsFile::Open(path);
  CHECK(file.ok()) << file.status();
  const nn::StoredTensor* stored = (*file)->Find(tensor);
  CHECK(stored != nullptr) << tensor;
  const size_t width = static_cast<size_t>(row < 0 ? stored->numel() : stored->shape[1]);
  const size_t first = row < 0 ? 0 : static_cast<size_t>(row) * width;
  for (size_t i = first; i < first + width; ++i) {
    std::memcpy(&bytes[stored->offset + i * sizeof(float)], &value, sizeof(value));
  }
  CHECK(WriteFileAtomically(path, bytes).ok());
}

void WriteUnevenDocuments(const std::string& path, int count, int longest, uint64_t seed,
                          int64_t vocab) {
  Random random(seed);
  std::string lines;
  for (int document = 0; document < count; ++document) {
    // Mostly short, now and then long.
    const double share = random.Next();
    const int64_t length = 3 + static_cast<int64_t>(share * share * share * (longest - 3));
    const double supervised = random.Next();
    std::string ids, labels;
    int64_t id = random.Below(vocab);
    for (int64_t i = 0; i < length; ++i) {
      id = random.Next() < 0.7 ? (id * 5 + 7) % vocab : random.Below(vocab);
      const bool learn = i + 1 == length || random.Next() < supervised;
      absl::StrAppend(&ids, i > 0 ? "," : "", id);
      absl::StrAppend(&labels, i > 0 ? "," : "", learn ? id : -100);
    }
    absl::StrAppend(&lines, "{\"input_ids\":[", ids, "],\"labels\":[", labels, "]}\n");
  }
  CHECK(WriteFileAtomically(path, lines).ok());
}

TinyInput MakeTinyInput(int count, int longest, int64_t mlp) {
  TinyInput input = {FreshPath("model"), FreshPath("documents") + ".jsonl"};
  WriteTinyModel(input.model, /*seed=*/1, mlp);
  WriteUnevenDocuments(input.documents, count, longest);
  return input;
}

}  // namespace lockstep
