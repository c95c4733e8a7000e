// Every family against transformers + PEFT in float64: logits, loss, gradients of every LoRA
// matrix, AdamW steps and the final adapter. And that a wrong model is found out.
#include <cstdio>
#include <filesystem>

#include "gtest/gtest.h"
#include "tests/golden_run.h"

namespace lockstep {
namespace {

constexpr char kRoot[] = "external/shared";

// The goldens are not all f64: transformers computes RoPE, softmax and the statistics of norms in
// fp32 whatever the dtype, and logits are stored so. That limits the second row of each pair.
// stories260k is a trained model with logits up to 20 and 20 steps; the others are random and
// small.
struct Tolerance {
  double logits, loss, grad_norm, gradient, final_adapter;
};
constexpr Tolerance kTrainedF32{5e-5, 4e-6, 3e-5, 2e-5, 4e-4};
constexpr Tolerance kTrainedF64{1e-5, 1e-6, 3e-6, 3e-6, 6e-5};
constexpr Tolerance kRandomF32{6e-6, 6e-8, 6e-7, 6e-6, 3e-5};
constexpr Tolerance kRandomF64{2e-6, 3e-8, 2e-7, 2e-6, 6e-6};

const char* const kNames[] = {"stories260k", "llama31", "llama_tied", "mistral", "mistral_sw",
                              "qwen2",       "qwen3",   "phi3",       "gemma2",  "gemma3"};

bool Meets(const Differences& d, const Tolerance& t) {
  return d.logits_base <= t.logits && d.logits_adapter <= t.logits && d.loss <= t.loss &&
         d.grad_norm <= t.grad_norm && d.gradient <= t.gradient &&
         d.final_adapter <= t.final_adapter;
}

std::string Show(const Differences& d) {
  char line[200];
  std::snprintf(line, sizeof(line),
                "logits %.1e %.1e | loss %.1e | norm %.1e | gradient %.1e | adapter %.1e",
                d.logits_base, d.logits_adapter, d.loss, d.grad_norm, d.gradient, d.final_adapter);
  return line;
}

class Parity : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(std::string(kRoot) + "/goldens")) {
      GTEST_SKIP() << "../shared/goldens is not there";
    }
    golden_ = ReadGolden(kRoot, GetParam());
  }
  void Expect(const char* what, const GoldenRunOptions& options, const Tolerance& tolerance) {
    const Differences differences = RunGolden(golden_, options);
    std::printf("%-12s %-22s %s\n", GetParam(), what, Show(differences).c_str());
    EXPECT_TRUE(Meets(differences, tolerance)) << what << ": " << Show(differences);
  }
  bool trained() const { return golden_.name == "stories260k"; }
  const Tolerance& F32() const { return trained() ? kTrainedF32 : kRandomF32; }
  const Tolerance& F64() const { return trained() ? kTrainedF64 : kRandomF64; }
  Golden golden_;
};

TEST_P(Parity, F32) {
  Expect("f32, one pack", {}, F32());
  Expect("f32, a pack each", {.one_pack = false}, F32());
}

TEST_P(Parity, F64) {
  Expect("f64, one pack", {.dtype = DType::kF64}, F64());
  Expect("f64, a pack each", {.dtype = DType::kF64, .one_pack = false}, F64());
}

INSTANTIATE_TEST_SUITE_P(Families, Parity, ::testing::ValuesIn(kNames),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace lockstep
