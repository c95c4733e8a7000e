#include "tools/benchmarks/ceiling.h"

#include "gtest/gtest.h"
#include "tensor/runtime.h"
#include "tools/benchmarks/shapes.h"
#include "tools/benchmarks/step.h"

namespace lockstep {
namespace {

// All operations of a step without LoRA's, but for the input's gradient of the first layer.
TEST(CeilingTest, HasTheStepsProductsAndAttention) {
  const auto runtime = *Runtime::Open(Device{DeviceType::kCPU});
  const auto model =
      RandomModel(runtime->context(), *ShapeConfig("tiny"), LoraOptions(16, DType::kF32));
  ASSERT_TRUE(model.ok()) << model.status();
  const nn::Model& tiny = **model;
  const BenchStep step(runtime->context(), model->get(), 3, 24, {});
  const nn::PackedTokens pack = step.Pack();
  const Ceiling ceiling(runtime->context(), tiny.decoder(), pack, /*score_bytes=*/0);
  double flops = 0;
  for (const Ceiling::Part& part : ceiling.parts()) flops += part.flops;
  const Tensor& qkv = tiny.decoder().weights().layers[0].qkv.weight.value();
  EXPECT_EQ(flops, StepFlops(tiny.config(), /*lora_weights=*/0, 3, 24) -
                       2.0 * static_cast<double>(qkv.numel()) * 3 * 24);
  ceiling.Run();
}

}  // namespace
}  // namespace lockstep
