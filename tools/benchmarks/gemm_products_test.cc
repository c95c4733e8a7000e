#include "tools/benchmarks/gemm_products.h"

#include <map>

#include "gtest/gtest.h"
#include "tools/benchmarks/shapes.h"

namespace lockstep {
namespace {

TEST(GemmProducts, AreThoseOfAStep) {
  const nn::ModelConfig config = *nn::ParseModelConfig(*ShapeConfig("8b"), "config.json");
  std::map<std::string, GemmProduct> products;
  for (const GemmProduct& p : GemmProductsOf(config, 8192, 1024)) products[p.name] = p;
  ASSERT_EQ(products.size(), 10);

  const auto expect = [&](const std::string& name, int64_t m, int64_t n, int64_t k) {
    const GemmProduct& p = products.at(name);
    EXPECT_EQ(p.m, m) << name;
    EXPECT_EQ(p.n, n) << name;
    EXPECT_EQ(p.k, k) << name;
    EXPECT_EQ(p.transposed_b, name.find("_dx") == std::string::npos) << name;
  };
  expect("qkv", 8192, 6144, 4096);
  expect("qkv_dx", 8192, 4096, 6144);
  expect("gate_up", 8192, 28672, 4096);
  expect("down_dx", 8192, 14336, 4096);
  expect("head", 1024, 128256, 4096);
  expect("head_dx", 1024, 4096, 128256);
  EXPECT_TRUE(products.at("gate_up_dx").adds);
  EXPECT_FALSE(products.at("gate_up").adds);
  EXPECT_FALSE(products.at("down_dx").adds);
}

TEST(GemmProducts, AShortPackHasAShortHead) {
  const nn::ModelConfig config = *nn::ParseModelConfig(*ShapeConfig("tiny"), "config.json");
  for (const GemmProduct& p : GemmProductsOf(config, 96, 1024)) EXPECT_EQ(p.m, 96) << p.name;
}

}  // namespace
}  // namespace lockstep
