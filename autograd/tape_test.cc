#include "autograd/tape.h"

#include "autograd/gradcheck.h"
#include "gtest/gtest.h"
#include "tensor/kernels/testing.h"

namespace lockstep::autograd {
namespace {

using kernels::CpuContext;
using kernels::FromVector;
using kernels::Random;
using kernels::ToVector;

// y = a ∘ b, elementwise: an op of the test's own, for activations, leaves and frozen weights.
Variable Multiply(Tape& tape, const Variable& a, const Variable& b) {
  const Tensor y = Tensor::Empty(*tape.context().allocator, DType::kF64, {a.value().numel()});
  for (int64_t i = 0; i < y.numel(); ++i) {
    y.view().as<double>()[i] = a.value().view().as<double>()[i] * b.value().view().as<double>()[i];
  }
  return tape.Record("multiply", {a, b}, y, {a.value(), b.value()}, [a, b](Gradients& g) {
    for (int i : {0, 1}) {
      if (!g.Needs(i)) continue;
      const bool leaf = (i == 0 ? a : b).is_leaf();
      const LeafTarget target = leaf ? g.Target(i) : LeafTarget{g.NewLike(i), false};
      for (int64_t j = 0; j < target.grad.numel(); ++j) {
        const double d = g.output(0).view().as<double>()[j] * g.saved(1 - i).view().as<double>()[j];
        double& out = target.grad.view().as<double>()[j];
        out = target.accumulate ? out + d : d;
      }
      if (!leaf) g.Add(i, target.grad);
    }
  });
}

// x ← 2x, in place.
Variable DoubleInPlace(Tape& tape, const Variable& x) {
  const View& view = x.value().Mutable("double");
  for (int64_t i = 0; i < view.numel(); ++i) view.as<double>()[i] *= 2;
  return tape.RecordInPlace("double", x, {}, {}, [](Gradients& g) {
    Tensor dx = g.NewLike(0);
    for (int64_t i = 0; i < dx.numel(); ++i) {
      dx.view().as<double>()[i] = 2 * g.output(0).view().as<double>()[i];
    }
    g.Add(0, dx);
  });
}

Variable Leaf(const char* name, const std::vector<double>& values) {
  const int64_t n = static_cast<int64_t>(values.size());
  return Variable::Leaf(name, FromVector(DType::kF64, {n}, values),
                        FromVector(DType::kF64, {n}, std::vector<double>(n, 1e9)));
}

TEST(TapeTest, DifferentiatesSharedInputs) {  // (ab)·(ab)·a
  const CheckedFunction f = [](Tape& tape, absl::Span<const Variable> in) -> std::vector<Variable> {
    const Variable ab = Multiply(tape, in[0], in[1]);
    return {Multiply(tape, Multiply(tape, ab, ab), in[0])};
  };
  const std::vector<Tensor> inputs = {Random(DType::kF64, {4}, 1), Random(DType::kF64, {4}, 2)};
  GradCheck("activations", inputs, f);
  GradCheck("leaves", inputs, f, {.as_leaves = {true, true}, .frozen = {}});
  GradCheck("frozen", inputs, f, {.as_leaves = {true, false}, .frozen = {false, true}});
}

TEST(TapeTest, AGradientOfTwoInputsIsAddedToForEachAlone) {
  Tape tape{CpuContext()};
  const Tensor value = FromVector(DType::kF64, {1}, {3});
  const Variable a = Tape::Input(value), b = Tape::Input(value);
  const Variable square = Multiply(tape, a, a);
  const Variable sum = tape.Record("sum", {a, b}, FromVector(DType::kF64, {1}, {6}), {},
                                   [](Gradients& g) {  // runs first, and hands in one tensor twice
                                     const Tensor grad = g.TakeOutput(0);
                                     g.Add(0, grad);
                                     g.Add(1, grad);
                                   });
  const Tensor one = FromVector(DType::kF64, {1}, {1});
  tape.Backward({square, sum}, {one, FromVector(DType::kF64, {1}, {1})}, nullptr);
  EXPECT_EQ(ToVector(Tape::GradientOf(a)), (std::vector<double>{1 + 3 + 3}));
  EXPECT_EQ(ToVector(Tape::GradientOf(b)), (std::vector<double>{1}));
}

TEST(TapeTest, ASegmentThatNothingReachesIsDoneWithItsLeaves) {
  Tape tape{CpuContext()};
  const Variable leaf = Leaf("leaf", {2}), x = Tape::Input(FromVector(DType::kF64, {1}, {3}));
  tape.Checkpoint("unused", {x}, [&](Tape& inner, absl::Span<const Variable> in) {
    return std::vector<Variable>{Multiply(inner, in[0], leaf)};
  });
  const Variable y = Multiply(tape, x, leaf);
  int final = 0;
  tape.Backward({y}, {FromVector(DType::kF64, {1}, {1})}, [&](const Variable&) { ++final; });
  EXPECT_EQ(final, 1);
  EXPECT_EQ(ToVector(leaf.leaf_grad()), (std::vector<double>{3}));
}

TEST(TapeTest, ACheckpointedSegmentGivesTheSameGradients) {
  const Tape::Segment segment = [](Tape& tape, absl::Span<const Variable> in) {
    return std::vector<Variable>{DoubleInPlace(tape, Multiply(tape, in[0], in[1]))};
  };
  const CheckedFunction f = [&](Tape& tape, absl::Span<const Variable> in) {
    const Variable once = tape.Checkpoint("segment", in, segment)[0];
    return tape.Checkpoint("outer", {once, in[1]}, [&](Tape& inner, absl::Span<const Variable> x) {
      return inner.Checkpoint("inner", x, segment);
    });
  };
  const std::vector<Tensor> inputs = {Random(DType::kF64, {4}, 1), Random(DType::kF64, {4}, 2)};
  GradCheck("activations", inputs, f);
  GradCheck("leaves", inputs, f, {.as_leaves = {false, true}, .frozen = {}});
  GradCheck("frozen", inputs, f, {.as_leaves = {}, .frozen = {true, false}});
}

// Also where segments lie in each other.
TEST(TapeTest, WhatASegmentKeepsIsComputedOnce) {
  int computed = 0;
  const Tape::Segment segment = [&](Tape& tape, absl::Span<const Variable> in) {
    const Variable square = Multiply(tape, in[0], in[0]);
    const auto [value, none] = tape.ComputeOnce([&] {
      ++computed;
      return Tape::Computed{.large = Multiply(tape, square, in[1]).value(), .small = {}};
    });
    return std::vector<Variable>{Multiply(tape, square, Variable::Frozen(value))};
  };
  const Tensor x = Random(DType::kF64, {4}, 1), w = Random(DType::kF64, {4}, 2);
  const Tensor seed = Random(DType::kF64, {4}, 3);
  CpuAllocator host;
  Parking parking(CpuContext(), CpuContext().stream, &host);
  const auto gradient = [&](const std::function<Variable(Tape&, const Variable&)>& f) {
    computed = 0;
    Tape tape(CpuContext());
    const Variable in = Tape::Input(x);
    tape.Backward({f(tape, in)}, {seed}, nullptr);
    return ToVector(Tape::GradientOf(in));
  };
  const Variable weight = Variable::Frozen(w);
  const auto want = gradient([&](Tape& tape, const Variable& in) {
    return segment(tape, {segment(tape, {in, weight})[0], weight})[0];
  });
  EXPECT_EQ(computed, 2);
  for (Parking* const place : {static_cast<Parking*>(nullptr), &parking}) {
    const auto again = gradient([&](Tape& tape, const Variable& in) {
      const Variable once = tape.Checkpoint("one", {in, weight}, segment, place)[0];
      return tape.Checkpoint("two", {once, weight}, segment, place)[0];
    });
    EXPECT_EQ(again, want);
    EXPECT_EQ(computed, 2);
  }
  const auto nested = gradient([&](Tape& tape, const Variable& in) {
    return tape.Checkpoint("outer", {in, weight}, [&](Tape& t, absl::Span<const Variable> outer) {
      const Variable once = segment(t, outer)[0];
      return t.Checkpoint("inner", {once, outer[1]}, segment, &parking);
    })[0];
  });
  EXPECT_EQ(nested, want);
  EXPECT_EQ(computed, 3);  // the inner one's value, in both runs of the outer one
  EXPECT_EQ(host.bytes_in_use(), 0);
}

// Four segments behind each other, whose inputs wait in other memory: the same bits, and at most
// two of them on the device at once.
TEST(TapeTest, InputsOfSegmentsMayBeParked) {
  constexpr int64_t kNumel = 10000;
  const Variable w = Variable::Leaf("w", Random(DType::kF64, {kNumel}, 1),
                                    Tensor::Empty(*CpuContext().allocator, DType::kF64, {kNumel}));
  const Tensor seed = Random(DType::kF64, {kNumel}, 2);
  const auto run = [&](Parking* parking) {
    CpuContext().allocator->ResetPeak();
    Tape tape(CpuContext());
    Variable x = Multiply(tape, w, w);
    for (int i = 0; i < 6; ++i) {
      x = tape.Checkpoint(
          "segment", {x},
          [&](Tape& t, absl::Span<const Variable> in) {
            return std::vector<Variable>{Multiply(t, in[0], w)};
          },
          parking)[0];
    }
    tape.Backward({std::exchange(x, Variable())}, {seed}, nullptr);
    return ToVector(w.leaf_grad());
  };
  CpuAllocator host;
  Parking parking(CpuContext(), CpuContext().stream, &host);
  const std::vector<double> kept = run(nullptr);
  const int64_t peak = CpuContext().allocator->peak_bytes();
  EXPECT_EQ(run(&parking), kept);
  EXPECT_LE(CpuContext().allocator->peak_bytes(), peak - 3 * kNumel * 8);
  EXPECT_EQ(host.bytes_in_use(), 0);
}

TEST(TapeTest, HooksFireOncePerLeafWhenItsGradientIsFinal) {
  const Variable a = Leaf("a", {1, 2}), b = Leaf("b", {3, 4}), unused = Leaf("unused", {5, 6});
  Tape tape(CpuContext());
  const Variable ab = Multiply(tape, a, b);
  const Variable aab = tape.Checkpoint("again", {ab}, [&](Tape& t, absl::Span<const Variable> in) {
    return std::vector<Variable>{Multiply(t, a, in[0])};
  })[0];
  Multiply(tape, unused, b);  // used, but the loss does not depend on it
  std::vector<std::string> finals;
  tape.Backward({aab}, {FromVector(DType::kF64, {2}, {1, 1})},
                [&](const Variable& leaf) { finals.push_back(leaf.name()); });
  EXPECT_EQ(finals, (std::vector<std::string>{"unused", "a", "b"}));
  EXPECT_EQ(ToVector(a.leaf_grad()), (std::vector<double>{2 * 1 * 3, 2 * 2 * 4}));
  EXPECT_EQ(ToVector(b.leaf_grad()), (std::vector<double>{1, 4}));
  EXPECT_EQ(ToVector(unused.leaf_grad()), (std::vector<double>{0, 0}));
}

TEST(TapeTest, FrozenChainsAreNotRecordedAndKeepNothing) {
  const Variable w = Variable::Frozen(Random(DType::kF64, {100}, 3));
  Tape tape(CpuContext());
  const int64_t before = CpuContext().allocator->bytes_in_use();
  { const Variable y = Multiply(tape, Multiply(tape, w, w), w); }
  EXPECT_EQ(CpuContext().allocator->bytes_in_use(), before);
}

TEST(TapeTest, BackwardReleasesWhatWasSaved) {
  const Variable a = Leaf("a", {1, 2});
  const int64_t before = CpuContext().allocator->bytes_in_use();
  {
    Tape tape(CpuContext());
    const Variable y = Multiply(tape, Multiply(tape, a, a), a);
    tape.Backward({y}, {FromVector(DType::kF64, {2}, {1, 1})}, nullptr);
  }
  EXPECT_EQ(CpuContext().allocator->bytes_in_use(), before);
}

TEST(TapeDeathTest, ModifyingASavedTensorNamesBothOps) {
  const Variable a = Leaf("a", {1, 2});
  Tape tape(CpuContext());
  const Variable x = Multiply(tape, a, a);
  const Variable y = Multiply(tape, x, a);  // saves x
  DoubleInPlace(tape, x);
  EXPECT_DEATH(tape.Backward({y}, {FromVector(DType::kF64, {2}, {1, 1})}, nullptr),
               "multiply.* modified in place by double");
}

TEST(TapeDeathTest, AnOverwrittenVariableCannotBeUsed) {
  const Variable a = Leaf("a", {1, 2});
  Tape tape(CpuContext());
  const Variable x = Multiply(tape, a, a);
  DoubleInPlace(tape, x);
  EXPECT_DEATH(Multiply(tape, x, a), "modified in place by double");
  EXPECT_DEATH(tape.RecordInPlace("double", a, {}, {}, nullptr), "only activations");
}

}  // namespace
}  // namespace lockstep::autograd
