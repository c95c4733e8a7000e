#include "tools/step_bench/shapes.h"

#include <cstdlib>
#include <filesystem>
#include <random>
#include <vector>

#include "absl/strings/match.h"
#include "base/file.h"
#include "base/status.h"
#include "nlohmann/json.hpp"
#include "nn/host_tensor.h"
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
    const bool half = destination.dtype() == DType::kBF16;
    const bool is_norm = absl::EndsWith(name, "norm.weight");
    const void* from = half ? static_cast<const void*>((is_norm ? half_ones_ : halves_).data())
                            : (is_norm ? ones_ : block_).data();
    const auto size = static_cast<int64_t>((is_norm ? ones_ : block_).size());
    const Tensor flat = destination.Reshape({destination.numel()});
    for (int64_t begin = 0; begin < flat.numel(); begin += size) {
      const Tensor part = flat.Slice(0, begin, std::min(begin + size, flat.numel()));
      CopyToDevice(context.stream, from, part.Mutable("random"));
    }
    return absl::OkStatus();
  }

 private:
  std::vector<float> block_, ones_;
  std::vector<uint16_t> halves_, half_ones_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<nn::Model>> RandomModel(const Context& context,
                                                       const std::string& shape,
                                                       nn::ModelOptions options) {
  for (const Shape& known : kShapes) {
    if (shape != known.name) continue;
    std::string folder =
        (std::filesystem::temp_directory_path() / "lockstep_bench_XXXXXX").string();
    if (mkdtemp(folder.data()) == nullptr) return UserError(folder, "cannot make this folder");
    RETURN_IF_ERROR(WriteFileAtomically(JoinPath(folder, "config.json"), ConfigOf(known).dump(1)));
    const RepeatedBlock weights;
    options.directory = folder;
    options.weights = &weights;
    auto model = nn::Model::Load(context, options);
    std::filesystem::remove_all(folder);
    return model;
  }
  return UserError("--shape", "want 8b, 1b, 135m or tiny, got \"" + shape + "\"");
}

}  // namespace lockstep
