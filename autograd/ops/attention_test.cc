#include "autograd/ops/attention.h"

#include "autograd/gradcheck.h"
#include "autograd/ops/glu.h"
#include "autograd/ops/rope.h"
#include "gtest/gtest.h"
#include "tensor/kernels/testing.h"

namespace lockstep::autograd {
namespace {

using kernels::CpuContext;
using kernels::FromVector;
using kernels::Random;
using kernels::ToVector;

constexpr QkvLayout kLayout = {.heads = 4, .kv_heads = 2, .head_dim = 2};

Documents Starts(const std::vector<int32_t>& starts) {
  return {starts, FromVector(DType::kI32, {static_cast<int64_t>(starts.size())},
                             std::vector<double>(starts.begin(), starts.end()))};
}

CheckedFunction AttentionOf(const AttentionOptions& options) {
  return [=](Tape& tape, absl::Span<const Variable> in) {
    return std::vector<Variable>{Attention(tape, in[0], kLayout, Starts({0, 1, 1, 5, 8}), options)};
  };
}

TEST(AttentionTest, Differentiates) {
  for (const double softcap : {0.0, 1.5}) {
    for (const int64_t window : {0, 2}) {
      const CheckedFunction f = AttentionOf({.scale = 0.7, .softcap = softcap, .window = window});
      for (const double scale : {1e-1, 1.0, 3.0}) {  // the last: nearly one-hot
        // One row behind the last document.
        GradCheck("attention", {Random(DType::kF64, {9, kLayout.width()}, 1, scale)}, f);
      }
    }
  }
}

TEST(AttentionTest, DifferentiatesBehindRopeInACheckpointedSegment) {
  const Tensor table =
      RopeTable(CpuContext(), FromVector(DType::kI32, {8}, {0, 0, 1, 2, 3, 0, 1, 2}),
                FromVector(DType::kF64, {1, 1}, {0.5}), Tensor(), 1.0);
  const CheckedFunction f = [&](Tape& tape, absl::Span<const Variable> in) {
    return tape.Checkpoint("layer", in, [&](Tape& inner, absl::Span<const Variable> x) {
      // Rope overwrites what it is given: an activation of the segment's own.
      const Variable qkv = Rope(inner, Glu(inner, x[0], GluActivation::kSilu), kLayout, table);
      return std::vector<Variable>{
          Attention(inner, qkv, kLayout, Starts({0, 1, 5, 8}), {.scale = 0.7})};
    });
  };
  GradCheck("attention", {Random(DType::kF64, {8, 2 * kLayout.width()}, 1)}, f);
}

TEST(AttentionTest, WithACacheGivesTheSameLastRow) {
  const Tensor qkv = Random(DType::kF64, {6, kLayout.width()}, 1);
  Tape tape(CpuContext(), Tape::Mode::kForward);
  const AttentionOptions options = {.scale = 0.7, .window = 4};
  const Variable whole = Attention(tape, Tape::Input(qkv), kLayout, Starts({0, 6}), options);
  const Tensor last = Tensor::Empty(*CpuContext().allocator, DType::kF64, {1, 8});
  CachedAttention(CpuContext(), qkv.Slice(0, 5, 6).Slice(1, 0, 8), qkv.Slice(1, 8, 12),
                  qkv.Slice(1, 12, 16), kLayout, Starts({0, 1}), Starts({0, 6}), options, last);
  kernels::ExpectNear(last, whole.value().Slice(0, 5, 6), 1e-13, 1e-15);
}

TEST(AttentionTest, AMetaRunPlansItsMemory) {
  MetaAllocator allocator;
  const Context meta = {Stream{Device{DeviceType::kMeta}}, &allocator};
  Tape tape(meta);
  const Documents documents = {{0, 1000}, Tensor::Empty(allocator, DType::kI32, {2})};
  const Tensor x = Tensor::Empty(allocator, DType::kF32, {1000, kLayout.width()});
  const int64_t before = allocator.bytes_in_use();
  const Variable out = Attention(tape, Tape::Input(x), kLayout, documents, {.scale = 0.7});
  EXPECT_EQ(allocator.bytes_in_use() - before,
            static_cast<int64_t>(AlignUp(1000 * 8 * 4) + AlignUp(1000 * 4 * 4)))
      << "out and lse";
  tape.Backward({out}, {Tensor::Empty(allocator, DType::kF32, {1000, 8})}, nullptr);
  EXPECT_GT(allocator.peak_bytes(), before + 1000 * 16 * 4) << "the merged gradient";
}

}  // namespace
}  // namespace lockstep::autograd
