// Gradients of every weight of every family, in f64, against central differences of the loss along
// a random direction in each parameter.
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "nn/random.h"
#include "nn/testing.h"
#include "tensor/kernels/fill.h"

namespace lockstep::nn {
namespace {

PackedTokens TwoDocuments(const Context& context) {
  std::vector<int32_t> ids, positions, rows, targets;
  std::vector<int64_t> keys;
  for (int32_t i = 0; i < 20; ++i) {
    ids.push_back((i * 37 + 11) % 96);
    positions.push_back(i < 13 ? i : i - 13);
    keys.push_back(i);
    if (i % 3 == 1) rows.push_back(i), targets.push_back((i * 29) % 96);
  }
  const std::vector<int32_t> starts = {0, 13, 20};
  return ToDevice(context, {ids, positions, starts, rows, targets, keys});
}

// The loss; with `backward` also the gradient of every parameter, in scratch.
double Loss(Model& model, const PackedTokens& pack, const ForwardOptions& options, bool backward) {
  const Context context = kernels::CpuContext();
  using autograd::Tape;
  Tape tape(context, backward ? Tape::Mode::kRecord : Tape::Mode::kForward);
  const autograd::Variable hidden = model.decoder().Hidden(tape, pack, options);
  const autograd::HeadNllResult nll = model.decoder().NllSum(tape, hidden, pack, 0.25, options);
  if (backward) {
    const Tensor one = Tensor::Empty(*context.allocator, DType::kF64, {1});
    kernels::Fill(context.stream, one.Mutable("seed"), 1.0);
    std::map<std::string, int> finals;
    tape.Backward({nll.loss}, {one},
                  [&](const autograd::Variable& leaf) { ++finals[leaf.name()]; });
    EXPECT_EQ(static_cast<int>(finals.size()), model.parameters().num_parameters());
    for (const auto& [name, count] : finals) EXPECT_EQ(count, 1) << name;
  }
  return 0.25 * kernels::ToVector(nll.nll_sum)[0];
}

void CheckEveryParameter(Model& model, const ForwardOptions& options) {
  const Context context = kernels::CpuContext();
  const PackedTokens pack = TwoDocuments(context);
  FlatParameters& parameters = model.parameters();
  Loss(model, pack, options, /*backward=*/true);
  for (int i = 0; i < parameters.num_parameters(); ++i) {
    const std::string& name = parameters.parameters()[i].spec.name;
    const Tensor value = parameters.Part(parameters.values(), i);
    const std::vector<float> direction = NormalValues(5, name, value.numel(), 1.0);
    const std::vector<double> gradient =
        kernels::ToVector(parameters.Part(parameters.scratch(), i));
    double want = 0, h = 1e-5;
    const auto move = [&](double by) {
      double* v = value.Mutable("move").as<double>();
      for (int64_t k = 0; k < value.numel(); ++k) v[k] += by * direction[k];
    };
    move(h);
    want = Loss(model, pack, options, false);
    move(-2 * h);
    want -= Loss(model, pack, options, false);
    move(h);
    want /= 2 * h;
    double got = 0;
    for (size_t k = 0; k < gradient.size(); ++k) got += gradient[k] * direction[k];
    EXPECT_NEAR(got, want, 1e-6 * (1 + std::abs(want))) << name;
  }
}

TEST(FullTraining, GradientsOfEveryWeight) {
  for (const char* type : {"llama", "mistral", "qwen2", "qwen3", "phi3", "gemma2", "gemma3_text"}) {
    SCOPED_TRACE(type);
    for (const bool tied : {false, true}) {
      nlohmann::json config = TinyConfig(type);
      config["tie_word_embeddings"] = tied;
      const absl::string_view name = type;
      if (name != "llama" && name.substr(0, 4) != "qwen") config["sliding_window"] = 5;
      if (name == "llama") config["attention_bias"] = config["mlp_bias"] = true;
      const std::string folder = FreshFolder(absl::StrCat("full_", type));
      ASSERT_TRUE(WriteFileAtomically(folder + "/config.json", config.dump()).ok());
      const auto model = LoadOrFail({.directory = folder,
                                     .full = true,
                                     .random_init = true,
                                     .compute_dtype = DType::kF64,
                                     .base_dtype = DType::kF64});
      ASSERT_NE(model, nullptr);
      CheckEveryParameter(*model, {});
      CheckEveryParameter(*model, {.checkpointing = Checkpointing::kLayer});
    }
  }
}

TEST(FullTraining, NormsAndBiasesDoNotDecay) {
  for (const char* family : {"qwen2", "gemma3_text"}) {
    nlohmann::json config = TinyConfig(family);
    config["sliding_window"] = 16;
    const auto model = LoadOrFail({.directory = MakeModel(family, config), .full = true});
    int vectors = 0;
    for (const Parameter& parameter : model->parameters().parameters()) {
      const bool is_vector = parameter.spec.shape.size() == 1;
      EXPECT_EQ(parameter.spec.decays, !is_vector) << parameter.spec.name;
      vectors += is_vector;
    }
    EXPECT_GT(vectors, 4);
  }
}

TEST(LoraTraining, GradientsWithDropoutAndSavedModules) {
  const std::string base = MakeModel("dropout_base", TinyConfig("qwen3"));
  LoraConfig lora;
  lora.r = 3;
  lora.init = LoraInit::kFalse;
  lora.modules_to_save = {"lm_head", "embed_tokens"};
  const auto model = LoadOrFail(
      {.directory = base, .lora = lora, .compute_dtype = DType::kF64, .base_dtype = DType::kF64});
  ASSERT_NE(model, nullptr);
  for (const auto mode : {Checkpointing::kNone, Checkpointing::kCheap, Checkpointing::kLayer}) {
    CheckEveryParameter(*model, {.checkpointing = mode, .lora_dropout = 0.3});
  }
  const PackedTokens pack = TwoDocuments(kernels::CpuContext());
  EXPECT_NE(Loss(*model, pack, {.lora_dropout = 0.3}, false), Loss(*model, pack, {}, false));
}

// All bits of the gradient, whatever is computed again and wherever activations wait.
TEST(LoraTraining, CheckpointingChangesNoBit) {
  for (const char* type : {"llama", "gemma2"}) {
    SCOPED_TRACE(type);
    nlohmann::json config = TinyConfig(type);
    if (type == absl::string_view("gemma2")) config["sliding_window"] = 5;
    const std::string base = MakeModel(absl::StrCat("checkpointing_", type), config);
    LoraConfig lora;
    lora.r = 3;
    lora.init = LoraInit::kFalse;
    const auto model = LoadOrFail({.directory = base, .lora = lora});
    ASSERT_NE(model, nullptr);
    const PackedTokens pack = TwoDocuments(kernels::CpuContext());
    const auto gradient = [&](const ForwardOptions& options) {
      Loss(*model, pack, options, /*backward=*/true);
      return kernels::ToVector(model->parameters().scratch());
    };
    CpuAllocator host;
    Parking parking(kernels::CpuContext(), kernels::CpuContext().stream, &host);
    const std::vector<double> none = gradient({});
    EXPECT_EQ(gradient({.checkpointing = Checkpointing::kCheap}), none);
    EXPECT_EQ(gradient({.checkpointing = Checkpointing::kLayer}), none);
    EXPECT_EQ(gradient({.checkpointing = Checkpointing::kLayer, .parking = &parking}), none);
    const int64_t inputs = host.peak_bytes();
    EXPECT_GT(inputs, 0);
    EXPECT_EQ(
        gradient(
            {.checkpointing = Checkpointing::kLayer, .parking = &parking, .keep_attention = true}),
        none);
    EXPECT_GT(host.peak_bytes(), inputs);
    EXPECT_EQ(host.bytes_in_use(), 0);
  }
}

}  // namespace
}  // namespace lockstep::nn
