#include "nn/flat_parameters.h"

#include <cmath>

#include "gtest/gtest.h"
#include "nn/optim/adamw.h"
#include "tensor/kernels/fill.h"
#include "tensor/kernels/testing.h"

namespace lockstep::nn {
namespace {

using kernels::CpuContext;
using kernels::ToVector;

std::vector<ParameterSpec> Specs() {
  return {{"a", {2, 3}, true, 1.0}, {"b", {130}, false, 4.0}, {"c", {128}, true, 1.0}};
}

TEST(FlatParameters, Layout) {
  const auto parameters = PlanFlatLayout(Specs());
  EXPECT_EQ(parameters[0].offset, 0);
  EXPECT_EQ(parameters[1].offset, 128);
  EXPECT_EQ(parameters[2].offset, 384);
  EXPECT_EQ(parameters[1].numel, 130);
}

TEST(FlatParameters, LeavesAreViews) {
  const Context context = CpuContext();
  const FlatParameters parameters(context, Specs(), {.num_slots = 2});
  EXPECT_EQ(parameters.numel(), 512);
  EXPECT_EQ(parameters.num_trainable(), 6 + 130 + 128);
  EXPECT_EQ(parameters.slots().numel(), 2);
  kernels::Fill(context.stream, parameters.Part(parameters.values(), 1).Mutable("test"), 3.0);
  const autograd::Variable& leaf = parameters.leaf(parameters.IndexOf("b"));
  EXPECT_EQ(ToVector(leaf.value())[129], 3.0);
  EXPECT_EQ(parameters.IndexOf(leaf), 1);
  EXPECT_EQ(parameters.IndexOf("nobody"), -1);
  double sum = 0;
  for (const double v : ToVector(parameters.values())) sum += v;
  EXPECT_EQ(sum, 3 * 130);
}

TEST(FlatParameters, SomeLeavesAreReadInFullPrecision) {
  std::vector<ParameterSpec> specs = Specs();
  specs[1].full_precision = true;
  const FlatParameters parameters(CpuContext(), specs, {.image_dtype = DType::kBF16});
  EXPECT_EQ(parameters.leaf(0).value().dtype(), DType::kBF16);
  EXPECT_EQ(parameters.leaf(1).value().dtype(), DType::kF32);
}

void SetGradient(FlatParameters& parameters, int index, double value) {
  kernels::Fill(CpuContext().stream, parameters.Part(parameters.scratch(), index).Mutable("test"),
                value);
}

TEST(FlatParameters, WhatSumsCannotHoldCountsInItsSlot) {
  const Context context = CpuContext();
  FlatParameters parameters(context, Specs(), {.num_slots = 2});
  parameters.ZeroSums(context);
  SetGradient(parameters, 0, NAN);
  parameters.AddToSums(context, 0, 1, /*packs_in_step=*/1, /*overflow_slot=*/1);
  EXPECT_EQ(ToVector(parameters.slots()), (std::vector<double>{0, 6}));
}

TEST(FlatParameters, SumsAreExactAndStepsFollowTheRates) {
  const Context context = CpuContext();
  for (const DType sum : {DType::kI64, DType::kF32}) {
    FlatParameters parameters(context, Specs(), {.sum_dtype = sum, .num_slots = 1});
    AdamW optimizer(context, parameters, {.weight_decay = 0, .max_grad_norm = 0}, 0);
    parameters.ZeroSums(context);
    for (int pack = 0; pack < 3; ++pack) {
      for (int i = 0; i < 3; ++i) {
        SetGradient(parameters, i, 0.5);
        parameters.AddToSums(context, i, i + 1, 3, 0);
      }
    }
    optimizer.Step(context, parameters, 1, 0.01);
    EXPECT_NEAR(ToVector(optimizer.norm_and_factor())[0], 1.5 * std::sqrt(6 + 130 + 128), 1e-5);
    // Adam's first step is the rate, against the sign.
    EXPECT_NEAR(ToVector(parameters.leaf(0).value())[0], -0.01, 1e-6);
    EXPECT_NEAR(ToVector(parameters.leaf(1).value())[0], -0.04, 1e-6);
    EXPECT_EQ(ToVector(parameters.values())[127], 0.0);  // between parameters
  }
}

TEST(FlatParameters, AnOverflowChangesNothing) {
  const Context context = CpuContext();
  FlatParameters parameters(context, Specs(), {.num_slots = 1});
  AdamW optimizer(context, parameters, {}, 0);
  for (const double bad : {1e9, std::nan("")}) {
    parameters.ZeroSums(context);
    SetGradient(parameters, 0, 1.0);
    SetGradient(parameters, 2, bad);
    parameters.AddToSums(context, 0, 1, 1, 0);
    parameters.AddToSums(context, 2, 3, 1, 0);
    EXPECT_EQ(ToVector(parameters.slots())[0], 128);
    optimizer.Step(context, parameters, 1, 0.01);
    EXPECT_EQ(ToVector(parameters.leaf(0).value())[0], 0.0);
  }
}

TEST(FlatParameters, DecayOnlyWhereItApplies) {
  const Context context = CpuContext();
  FlatParameters parameters(context, Specs(), {.num_slots = 1});
  kernels::Fill(context.stream, parameters.values().Mutable("test"), 1.0);
  AdamW optimizer(context, parameters, {.weight_decay = 0.5}, 0);
  parameters.ZeroSums(context);
  optimizer.Step(context, parameters, 1, 0.1);
  EXPECT_NEAR(ToVector(parameters.leaf(0).value())[0], 0.95, 1e-6);
  EXPECT_EQ(ToVector(parameters.leaf(1).value())[0], 1.0);
}

TEST(FlatParameters, NeighborsOfOneRateDecayEachByItself) {
  const Context context = CpuContext();
  FlatParameters parameters(context, {{"a", {5}, true}, {"b", {5}, false}, {"c", {5}, true}},
                            {.num_slots = 1});
  kernels::Fill(context.stream, parameters.values().Mutable("test"), 1.0);
  AdamW optimizer(context, parameters, {.weight_decay = 0.5}, 0);
  parameters.ZeroSums(context);
  optimizer.Step(context, parameters, 1, 0.1);
  EXPECT_NEAR(ToVector(parameters.leaf(0).value())[4], 0.95, 1e-6);
  EXPECT_EQ(ToVector(parameters.leaf(1).value())[4], 1.0);
  EXPECT_NEAR(ToVector(parameters.leaf(2).value())[4], 0.95, 1e-6);
}

TEST(FlatParameters, ImageFollowsTheValues) {
  const Context context = CpuContext();
  FlatParameters parameters(context, Specs(), {.image_dtype = DType::kBF16, .num_slots = 1});
  kernels::Fill(context.stream, parameters.values().Mutable("test"), 1.0 + 1.0 / 1024);
  parameters.RefreshImage(context);
  EXPECT_EQ(ToVector(parameters.leaf(0).value())[0], 1.0);
  EXPECT_EQ(parameters.leaf(0).value().dtype(), DType::kBF16);
  AdamW optimizer(context, parameters, {}, 0);
  parameters.ZeroSums(context);
  SetGradient(parameters, 0, -1.0);
  parameters.AddToSums(context, 0, 1, 1, 0);
  optimizer.Step(context, parameters, 1, 1.0);
  EXPECT_EQ(ToVector(parameters.leaf(0).value())[0], 2.0);
}

}  // namespace
}  // namespace lockstep::nn
