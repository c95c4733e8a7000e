// Every family against transformers + PEFT in float64: logits, loss, gradients of every LoRA
// matrix, AdamW steps and the final adapter. And that a wrong model is found out.
#include <algorithm>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "nn/host_tensor.h"
#include "nn/kv_cache.h"
#include "tests/golden_fixture.h"

namespace lockstep {
namespace {

// The goldens are not all f64: transformers computes RoPE, softmax and the statistics of norms in
// fp32 whatever the dtype, and logits are stored so. That limits the second row of each pair.
// In the final adapter, AdamW makes noise of elements whose gradient is hardly more than noise:
// its tolerance is wide.
constexpr Tolerance kTrainedF32{5e-5, 4e-6, 3e-5, 2e-5, 4e-4};
constexpr Tolerance kTrainedF64{1e-5, 1e-6, 3e-6, 3e-6, 6e-5};
constexpr Tolerance kRandomF32{6e-6, 6e-8, 3e-6, 6e-6, 2e-3};
constexpr Tolerance kRandomF64{2e-6, 3e-8, 1e-6, 2e-6, 1e-3};

class Parity : public GoldenFixture {
 protected:
  void Expect(const char* what, const GoldenRunOptions& options, const Tolerance& tolerance) {
    GoldenFixture::Expect(what, RunGolden(golden_, options), tolerance);
  }
  const Tolerance& F32() const { return trained() ? kTrainedF32 : kRandomF32; }
  const Tolerance& F64() const { return trained() ? kTrainedF64 : kRandomF64; }
};

TEST_P(Parity, F32) {
  Expect("f32, one pack", {}, F32());
  Expect("f32, a pack each", {.one_pack = false}, F32());
}

TEST_P(Parity, F64) {
  Expect("f64, one pack", {.dtype = DType::kF64}, F64());
  Expect("f64, a pack each", {.dtype = DType::kF64, .one_pack = false}, F64());
}

// The modes of recomputing change no bit, so they meet the same figures.
TEST_P(Parity, Checkpointing) {
  const Differences none = RunGolden(golden_, {});
  for (const auto mode : {nn::Checkpointing::kCheap, nn::Checkpointing::kLayer}) {
    const Differences again = RunGolden(golden_, {.checkpointing = mode});
    EXPECT_EQ(none.loss, again.loss);
    EXPECT_EQ(none.grad_norm, again.grad_norm);
    EXPECT_EQ(none.gradient, again.gradient);
    EXPECT_EQ(none.final_adapter, again.final_adapter);
  }
}

// --- A wrong model does not meet them ---

void SwapRopeHalves(nn::Model& model) {
  const nn::ModelConfig& config = model.config();
  const int64_t half = config.head_dim / 2 * config.hidden_size;  // elements
  for (const nn::LayerWeights& layer : model.decoder().weights().layers) {
    float* rows = layer.qkv.weight.value().Mutable("swap").as<float>();
    for (int64_t head = 0; head < config.num_heads + config.num_kv_heads; ++head) {
      std::swap_ranges(rows + 2 * head * half, rows + (2 * head + 1) * half,
                       rows + (2 * head + 1) * half);
    }
  }
}

struct Planted {
  const char* error;
  bool (*applies)(const nn::ModelConfig& config);
  void (*mutate)(nn::ModelConfig& config);
};
bool Always(const nn::ModelConfig&) { return true; }
// Windows that end within the goldens' documents.
bool Slides(const nn::ModelConfig& config) {
  return config.layers[0].window > 0 && config.layers[0].window <= 20;
}
// Scalings that act on documents of any length.
bool ScalesRope(const nn::ModelConfig& config) {
  const auto kind = config.ropes[0].kind;
  return kind == nn::RopeConfig::Kind::kLlama3 || kind == nn::RopeConfig::Kind::kLinear;
}

const Planted kPlanted[] = {
    {"a window one too wide", Slides,
     [](nn::ModelConfig& c) {
       for (auto& layer : c.layers) layer.window += layer.window > 0;
     }},
    {"no window", Slides,
     [](nn::ModelConfig& c) {
       for (auto& layer : c.layers) layer.window = 0;
     }},
    {"no q and k norm", [](const nn::ModelConfig& c) { return c.qk_norm; },
     [](nn::ModelConfig& c) { c.qk_norm = false; }},
    {"no soft cap of scores", [](const nn::ModelConfig& c) { return c.attention_softcap > 0; },
     [](nn::ModelConfig& c) { c.attention_softcap = 0; }},
    {"no soft cap of logits", [](const nn::ModelConfig& c) { return c.final_softcap > 0; },
     [](nn::ModelConfig& c) { c.final_softcap = 0; }},
    {"norms without 1 +", [](const nn::ModelConfig& c) { return c.norm_adds_one; },
     [](nn::ModelConfig& c) { c.norm_adds_one = false; }},
    {"embeddings not scaled", [](const nn::ModelConfig& c) { return c.embedding_scale != 1; },
     [](nn::ModelConfig& c) { c.embedding_scale = 1; }},
    {"the other activation", Always,
     [](nn::ModelConfig& c) {
       c.activation = c.activation == nn::Activation::kSilu ? nn::Activation::kGeluTanh
                                                            : nn::Activation::kSilu;
     }},
    {"RoPE's base off by a tenth", Always,
     [](nn::ModelConfig& c) {
       for (auto& rope : c.ropes) rope.theta *= 1.1;
     }},
    {"plain instead of scaled RoPE", ScalesRope,
     [](nn::ModelConfig& c) { c.ropes[0].kind = nn::RopeConfig::Kind::kDefault; }},
    {"global RoPE in local layers", [](const nn::ModelConfig& c) { return c.ropes.size() > 1; },
     [](nn::ModelConfig& c) {
       for (auto& layer : c.layers) layer.rope = 0;
     }},
    {"eps a thousand times larger", Always, [](nn::ModelConfig& c) { c.rms_norm_eps *= 1e3; }},
};

TEST_P(Parity, PlantedErrorsAreFound) {
  const auto config = nn::ReadModelConfig(golden_.model);
  ASSERT_TRUE(config.ok()) << config.status();
  int tried = 0;
  for (const Planted& planted : kPlanted) {
    if (!planted.applies(*config)) continue;
    ++tried;
    const Differences differences = RunGolden(golden_, {.mutate = planted.mutate});
    EXPECT_FALSE(Meets(differences, F32())) << planted.error << ": " << Show(differences);
  }
  EXPECT_GE(tried, 3);
  const Differences swapped = RunGolden(golden_, {.damage = SwapRopeHalves});
  EXPECT_FALSE(Meets(swapped, F32())) << "RoPE's halves swapped: " << Show(swapped);
}

// Token by token through the cache gives the logits of the whole document.
TEST_P(Parity, GenerationWithCache) {
  const Context context = TestContext();
  const auto model = nn::Model::Load(
      context, {.directory = golden_.model, .adapter = golden_.adapter, .training = false});
  ASSERT_TRUE(model.ok()) << model.status();
  const nn::Decoder& decoder = (*model)->decoder();
  const GoldenDocument& document = golden_.documents[0];
  const size_t tokens = document.input_ids.size(), prefill = tokens / 2;
  const size_t vocab = document.logits_adapter.size() / tokens;
  const bool length_matters = std::any_of(decoder.config().ropes.begin(),
                                          decoder.config().ropes.end(), [](const auto& rope) {
                                            return rope.kind == nn::RopeConfig::Kind::kDynamic ||
                                                   rope.kind == nn::RopeConfig::Kind::kLongRope;
                                          });
  if (length_matters) GTEST_SKIP() << "cached keys keep the angles of the length they had";
  nn::KvCache cache(context, decoder.config(), DType::kF32, static_cast<int64_t>(tokens));
  double worst = 0;
  for (size_t begin = 0; begin < tokens;) {
    const size_t end = begin == 0 ? prefill : begin + 1;
    std::vector<int32_t> ids, positions;
    for (size_t i = begin; i < end; ++i) {
      ids.push_back(document.input_ids[i]);
      positions.push_back(static_cast<int32_t>(i));
    }
    const std::vector<int32_t> starts = {0, static_cast<int32_t>(ids.size())};
    const nn::PackedTokens pack = nn::ToDevice(context, {ids, positions, starts, {}, {}, {}});
    autograd::Tape tape(context, autograd::Tape::Mode::kForward);
    const autograd::Variable hidden = decoder.Hidden(tape, pack, {.caches = {&cache}});
    const Tensor last = nn::FromHost<int32_t>(context, {starts[1] - 1});
    const auto logits = nn::ToHost<float>(context, decoder.Logits(tape, hidden, last));
    for (size_t v = 0; v < vocab; ++v) {
      const double want = document.logits_adapter[(end - 1) * vocab + v];
      worst = std::max(worst, std::abs(logits[v] - want));
    }
    begin = end;
  }
  EXPECT_EQ(cache.length(), static_cast<int64_t>(tokens));
  EXPECT_LE(worst, F32().logits);
}

INSTANTIATE_TEST_SUITE_P(Families, Parity, AllGoldens(), GoldenName);

}  // namespace
}  // namespace lockstep
