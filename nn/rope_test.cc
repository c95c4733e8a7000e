#include "nn/rope.h"

#include "gtest/gtest.h"

namespace lockstep::nn {
namespace {

// What transformers 5.17 computes for the same config.
void ExpectRope(const std::string& parameters, const std::vector<double>& frequencies,
                double attention_factor) {
  const auto config = ParseModelConfig(
      R"({"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4,
          "max_position_embeddings": 512, "rope_parameters": )" +
          parameters + "}",
      "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  const RopeConfig& rope = config->ropes[0];
  const std::vector<float> got = InverseFrequencies(rope, 100);
  ASSERT_EQ(got.size(), frequencies.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i], frequencies[i], 1e-7 * frequencies[i]) << i;
  }
  EXPECT_NEAR(rope.attention_factor, attention_factor, 1e-12);
}

TEST(Rope, Yarn) {
  ExpectRope(
      R"({"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
          "original_max_position_embeddings": 128})",
      {1.0, 0.23717081546783447, 0.04999999701976776, 0.007905694656074047, 0.0024999999441206455,
       0.0007905694656074047, 0.0002500000118743628, 7.905694656074047e-05},
      1.138629436111989);
  ExpectRope(
      R"({"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
          "original_max_position_embeddings": 128, "truncate": false, "beta_fast": 16.0,
          "beta_slow": 2.0, "mscale": 0.7, "mscale_all_dim": 0.9})",
      {1.0, 0.212468683719635, 0.025664398446679115, 0.007905694656074047, 0.0024999999441206455,
       0.0007905694656074047, 0.0002500000118743628, 7.905694656074047e-05},
      0.9753496504321066);
}

}  // namespace
}  // namespace lockstep::nn
