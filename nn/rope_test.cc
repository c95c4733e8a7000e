#include "nn/rope.h"

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace lockstep::nn {
namespace {

// What transformers 5.17 computes for the same config.
void ExpectRope(const std::string& parameters, const std::vector<double>& frequencies,
                double attention_factor = 1, int max_position_embeddings = 512) {
  const auto config = ParseModelConfig(
      absl::StrCat(R"({"model_type": "llama", "hidden_size": 64,
          "num_attention_heads": 4, "max_position_embeddings": )",
                   max_position_embeddings, ", \"rope_parameters\": ", parameters, "}"),
      "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  const RopeConfig& rope = config->ropes[0];
  const std::vector<float> got = InverseFrequencies(rope, 100);
  ASSERT_EQ(got.size(), frequencies.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i], static_cast<float>(frequencies[i])) << i;
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

TEST(Rope, Llama3) {
  ExpectRope(
      R"({"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 64})",
      {1.0, 0.24438458681106567, 0.013042256236076355, 0.0039528473280370235, 0.0012499999720603228,
       0.00039528473280370235, 0.0001250000059371814, 3.9528473280370235e-05});
}

TEST(Rope, Dynamic) {
  ExpectRope(
      R"({"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.5})",
      {1.0, 0.2789476811885834, 0.07781180739402771, 0.021705422550439835, 0.006054677069187164,
       0.0016889381222426891, 0.0004711253859568387, 0.00013141933595761657},
      1, /*max_position_embeddings=*/64);
}

}  // namespace
}  // namespace lockstep::nn
