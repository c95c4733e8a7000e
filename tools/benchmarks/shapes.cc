#include "tools/benchmarks/shapes.h"

#include <cstdlib>
#include <filesystem>
#include <random>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "nlohmann/json.hpp"
#include "nn/modules.h"
#include "tensor/half.h"
#include "tensor/runtime.h"

namespace lockstep {
namespace {

struct Shape {
  const char* name;
  int hidden, intermediate, layers, heads, kv_heads, head_dim, vocab;
  bool tied;
};

constexpr Shape kShapes[] = {
    {"8b", 4096, 14336, 32, 32, 8, 128, 128256, false},
    {"1b", 2048, 8192, 16, 32, 8, 64, 128256, true},
    {"135m", 576, 1536, 30, 9, 3, 64, 49152, true},
    {"tiny", 64, 160, 2, 4, 2, 16, 320, false},
};

nlohmann::json ConfigOf(const Shape& shape) {
  return {{"model_type", "llama"},
          {"vocab_size", shape.vocab},
          {"hidden_size", shape.hidden},
          {"intermediate_size", shape.intermediate},
          {"num_hidden_layers", shape.layers},
          {"num_attention_heads", shape.heads},
          {"num_key_value_heads", shape.kv_heads},
          {"head_dim", shape.head_dim},
          {"max_position_embeddings", 131072},
          {"rope_theta", 500000.0},
          {"rms_norm_eps", 1e-5},
          {"tie_word_embeddings", shape.tied}};
}

// One block of normal values, again and again: as good as others for speed, and quick to make.
class RepeatedBlock final : public nn::WeightSource {
 public:
  RepeatedBlock() : block_(1 << 22) {
    std::mt19937 bits(1);
    std::normal_distribution<float> normal(0, 0.02f);
    for (float& value : block_) value = normal(bits);
    for (const float value : block_) halves_.push_back(FloatToBf16(value));
    ones_.assign(1 << 16, 1.0f);
    half_ones_.assign(1 << 16, FloatToBf16(1.0f));
  }

  absl::Status Fill(const Context& context, const std::string& name,
                    const Tensor& destination) const override {
    Write(context, absl::EndsWith(name, "norm.weight"), destination);
    return absl::OkStatus();
  }

  void Write(const Context& context, bool is_norm, const Tensor& destination) const {
    const bool half = destination.dtype() == DType::kBF16;
    const void* from = half ? static_cast<const void*>((is_norm ? half_ones_ : halves_).data())
                            : (is_norm ? ones_ : block_).data();
    const auto size = static_cast<int64_t>((is_norm ? ones_ : block_).size());
    const Tensor flat = destination.Reshape({destination.numel()});
    for (int64_t begin = 0; begin < flat.numel(); begin += size) {
      const Tensor part = flat.Slice(0, begin, std::min(begin + size, flat.numel()));
      CopyToDevice(context.stream, from, part.Mutable("random"));
    }
  }

 private:
  std::vector<float> block_, ones_;
  std::vector<uint16_t> halves_, half_ones_;
};

}  // namespace

absl::StatusOr<std::string> ShapeConfig(absl::string_view name) {
  for (const Shape& known : kShapes) {
    if (name == known.name) return ConfigOf(known).dump(1);
  }
  return UserError("--shape", absl::StrCat("want 8b, 1b, 135m or tiny, got \"", name, "\""),
                   "--model=FOLDER takes any other config.json");
}

nn::ModelOptions LoraOptions(int64_t r, DType dtype) {
  nn::ModelOptions options;
  options.lora = nn::LoraConfig{};
  options.lora->r = r;
  options.lora->alpha = 2.0 * static_cast<double>(r);
  options.lora->init = nn::LoraInit::kFalse;
  options.num_slots = 1;
  options.compute_dtype = options.base_dtype = dtype;
  return options;
}

absl::StatusOr<std::unique_ptr<nn::Model>> RandomModel(const Context& context,
                                                       const std::string& config_json,
                                                       nn::ModelOptions options) {
  std::string folder = (std::filesystem::temp_directory_path() / "lockstep_bench_XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) return SystemError(folder, "cannot make", errno);
  const absl::Cleanup remove = [&] {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  };
  RETURN_IF_ERROR(WriteFileAtomically(JoinPath(folder, "config.json"), config_json));
  const RepeatedBlock weights;
  options.directory = folder;
  options.weights = &weights;
  return nn::Model::Load(context, options);
}

void FillRandom(const Context& context, const Tensor& tensor) {
  RepeatedBlock().Write(context, /*is_norm=*/false, tensor);
}

double StepFlops(const nn::ModelConfig& config, int64_t lora_weights, int64_t documents,
                 int64_t length) {
  const nn::ModelModules modules = nn::ModulesOf(config);
  double weights = 0;
  for (const nn::LayerModules& layer : modules.layers) {
    for (const nn::MergedLinear* linear : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) {
      weights += static_cast<double>(linear->in()) * linear->out();
    }
  }
  const double tokens = static_cast<double>(documents) * length;
  const double supervised = tokens - static_cast<double>(documents);
  const double head = static_cast<double>(config.vocab_size) * config.hidden_size;
  const double pairs = static_cast<double>(documents) * length * (length + 1) / 2;
  const double attention = 7.0 * 2 * pairs * config.num_heads * config.head_dim;
  return 4 * weights * tokens + 4 * head * supervised + 6.0 * lora_weights * tokens +
         attention * config.num_layers();
}

}  // namespace lockstep
