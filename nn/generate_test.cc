#include "nn/generate.h"

#include <algorithm>
#include <numeric>

#include "autograd/tape.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "nn/host_tensor.h"
#include "nn/model.h"
#include "nn/packed_tokens.h"
#include "tensor/runtime.h"

namespace lockstep::nn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Random weights; a window, so that old keys are forgotten while generating.
constexpr char kConfig[] = R"({
  "model_type": "mistral", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
  "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 61, "sliding_window": 6,
  "max_position_embeddings": 24, "rms_norm_eps": 1e-5, "initializer_range": 0.4,
  "hidden_act": "silu", "tie_word_embeddings": false})";

class GenerateTest : public ::testing::Test {
 protected:
  void SetUp() override { Load(nlohmann::json::parse(kConfig)); }

  void Load(const nlohmann::json& config) {
    const std::string directory = ::testing::TempDir();
    ASSERT_TRUE(WriteFileAtomically(JoinPath(directory, "config.json"), config.dump()).ok());
    auto model =
        Model::Load(context(), {.directory = directory, .training = false, .random_init = true});
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }
  const Context& context() const { return runtime_->context(); }

  void ExpectSameWithoutCache() {
    std::vector<int32_t> text = {5, 17, 3};
    ASSERT_TRUE(Run(text, {.max_new_tokens = 18}).ok());
    ASSERT_EQ(said_.size(), 18);
    for (const int32_t id : said_) {
      ASSERT_EQ(id, LikeliestWithoutCache(text)) << "token " << text.size();
      text.push_back(id);
    }
  }

  absl::StatusOr<Stop> Run(std::vector<int32_t> prompt, const GenerateOptions& options) {
    said_.clear();
    return Generate(context(), model_->decoder(), prompt, options, [&](int32_t id) {
      said_.push_back(id);
      return said_.size() < most_;
    });
  }

  // The likeliest token behind `ids`, all of which go through the model at once.
  int32_t LikeliestWithoutCache(const std::vector<int32_t>& ids) {
    const int32_t length = static_cast<int32_t>(ids.size());
    std::vector<int32_t> positions(length), bounds = {0, length};
    std::iota(positions.begin(), positions.end(), 0);
    const PackedTokens pack = ToDevice(context(), {ids, positions, bounds, {}, {}, {}});
    autograd::Tape tape(context(), autograd::Tape::Mode::kForward);
    const autograd::Variable hidden = model_->decoder().Hidden(tape, pack);
    const Tensor logits =
        model_->decoder().Logits(tape, hidden, FromHost<int32_t>(context(), {length - 1}));
    const auto values = ToHost<float>(context(), logits);
    return static_cast<int32_t>(std::max_element(values.begin(), values.end()) - values.begin());
  }

  std::unique_ptr<Runtime> runtime_ = *Runtime::Open(Device{DeviceType::kCPU, 0});
  std::unique_ptr<Model> model_;
  std::vector<int32_t> said_;
  size_t most_ = 1000;
};

TEST_F(GenerateTest, EqualsTheModelWithoutACache) { ExpectSameWithoutCache(); }

// Keys that were kept have been turned by the frequencies of a shorter text.
TEST_F(GenerateTest, WhereFrequenciesGoWithTheLength) {
  nlohmann::json config = nlohmann::json::parse(kConfig);
  config["rope_theta"] = 5.0;
  config["sliding_window"] = nullptr;
  config["rope_scaling"] = {{"rope_type", "longrope"},
                            {"short_factor", {1, 1, 1, 1}},
                            {"long_factor", {9, 5, 7, 3}},
                            {"original_max_position_embeddings", 8}};
  Load(config);
  ExpectSameWithoutCache();
  config["max_position_embeddings"] = 8;
  config["rope_scaling"] = {{"rope_type", "dynamic"}, {"factor", 3.0}};
  Load(config);
  ExpectSameWithoutCache();
}

TEST_F(GenerateTest, SaysWhyItStopped) {
  const std::vector<int32_t> prompt = {5, 17, 3};
  EXPECT_EQ(*Run(prompt, {.max_new_tokens = 4}), Stop::kMaxNewTokens);
  EXPECT_EQ(said_.size(), 4);
  const std::vector<int32_t> first = said_;
  EXPECT_EQ(*Run(prompt, {.stop_ids = {60, first[2]}}), Stop::kStopToken);
  EXPECT_EQ(said_.size(), std::find(first.begin(), first.end(), first[2]) - first.begin());
  EXPECT_EQ(*Run(prompt, {}), Stop::kModelLength);
  EXPECT_EQ(said_.size(), 24 - 3 + 1);  // the last one has no position of its own
  most_ = 2;
  EXPECT_EQ(*Run(prompt, {}), Stop::kCaller);
  EXPECT_EQ(said_.size(), 2);
}

TEST_F(GenerateTest, SeveralTextsAtOnceAreThoseOfEachAlone) {
  const std::vector<std::vector<int32_t>> prompts = {{5, 17, 3}, {9}, {1, 2, 3, 4, 5, 6, 7, 8}};
  std::vector<std::vector<int32_t>> alone;
  for (const auto& prompt : prompts) {
    ASSERT_TRUE(Run(prompt, {.max_new_tokens = 20}).ok());
    alone.push_back(said_);
  }
  std::vector<std::vector<int32_t>> together(prompts.size());
  const auto stops = GenerateAll(context(), model_->decoder(), prompts, {.max_new_tokens = 20},
                                 [&](size_t text, int32_t id) {
                                   together[text].push_back(id);
                                   return true;
                                 });
  ASSERT_TRUE(stops.ok()) << stops.status();
  EXPECT_EQ(together, alone);
  EXPECT_THAT(*stops, ElementsAre(Stop::kMaxNewTokens, Stop::kMaxNewTokens, Stop::kModelLength));
}

TEST_F(GenerateTest, RefusesPromptsThatTheModelCannotTake) {
  EXPECT_THAT(Run({}, {}).status().message(), HasSubstr("at least one token"));
  EXPECT_THAT(Run({5, 61}, {}).status().message(), HasSubstr("vocab_size 61, got 61"));
  EXPECT_THAT(Run(std::vector<int32_t>(24, 1), {}).status().message(),
              HasSubstr("the model's 24, got 24"));
}

}  // namespace
}  // namespace lockstep::nn
