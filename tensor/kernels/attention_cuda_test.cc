#include <cmath>

#include "tensor/kernels/attention.h"
#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/fill.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

struct Case {
  const char* name;
  std::vector<int32_t> starts;
  int64_t tokens, heads, kv_heads, dim;
  AttentionOptions options;
};

View Heads(const View& x, int64_t first, int64_t count, int64_t dim) {
  View view = x.Slice(1, first * dim, (first + count) * dim);
  view.rank = 3;
  view.shape[1] = count, view.shape[2] = dim;
  view.stride[1] = dim, view.stride[2] = 1;
  return view;
}

// Filled with NaN (all bits of bytes), also because what cuDNN writes by the tensor memory
// accelerator is unknown to compute-sanitizer's initcheck.
Tensor Garbage(const Context& context, DType dtype, std::initializer_list<int64_t> shape) {
  const Tensor tensor = Tensor::Empty(*context.allocator, dtype, shape);
  Fill(context.stream, tensor, dtype == DType::kU8 ? 255 : std::nan(""));
  return tensor;
}

struct Result {
  Tensor out, lse, dqkv;
};

// Forward and backward of one merged qkv.
Result Compute(const Context& context, const Case& c, const Tensor& qkv, const Tensor& dout,
               const Tensor& cu_seqlens) {
  const auto q = [&](const View& x) { return Heads(x, 0, c.heads, c.dim); };
  const auto k = [&](const View& x) { return Heads(x, c.heads, c.kv_heads, c.dim); };
  const auto v = [&](const View& x) { return Heads(x, c.heads + c.kv_heads, c.kv_heads, c.dim); };
  const auto o = [&](const View& x) { return Heads(x, 0, c.heads, c.dim); };
  const PackedDocuments documents = {static_cast<int64_t>(c.starts.size()) - 1, c.starts.data(),
                                     c.starts.data(), cu_seqlens, cu_seqlens};
  const WorkspaceBytes bytes = AttentionWorkspace(
      context.device(), {c.tokens, c.heads, c.kv_heads, c.dim, qkv.dtype()}, documents, c.options);
  Result result = {Garbage(context, qkv.dtype(), {c.tokens, c.heads * c.dim}),
                   Garbage(context, DType::kF32, {c.tokens, c.heads}),
                   Garbage(context, qkv.dtype(), {c.tokens, (c.heads + 2 * c.kv_heads) * c.dim})};
  Attention(context.stream, q(qkv), k(qkv), v(qkv), documents, c.options, o(result.out), result.lse,
            Garbage(context, DType::kU8, {bytes.forward}));
  AttentionBackward(context.stream, o(dout), q(qkv), k(qkv), v(qkv), o(result.out), result.lse,
                    documents, c.options, q(result.dqkv), k(result.dqkv), v(result.dqkv),
                    Garbage(context, DType::kU8, {bytes.backward}));
  return result;
}

std::vector<Case> Cases() {
  return {{"one document", {0, 64}, 64, 4, 4, 64, {0.125, 0, 0}},
          {"grouped, uneven, an empty document and a tail",
           {0, 100, 100, 101, 190},
           192,
           6,
           2,
           64,
           {0.125, 0, 0}},
          {"window", {0, 150, 200}, 200, 4, 2, 64, {0.125, 0, 16}},
          {"soft cap and window", {0, 150, 200}, 200, 4, 2, 64, {0.125, 5.0, 40}},
          {"several length classes", {0, 600, 700, 712, 740}, 768, 8, 2, 128, {0.0883883, 0, 0}},
          {"small heads", {0, 30, 90}, 90, 8, 4, 8, {0.35, 0, 0}},
          {"large heads", {0, 30, 90}, 90, 2, 1, 256, {0.0625, 0, 0}}};
}

// Some documents, perhaps with rows of none behind them; options as models have them.
Case Drawn(Draw& draw, int64_t dim) {
  const int64_t kv_heads = draw.Size(3);
  Case c = {"drawn", {0}, 0, kv_heads * draw.Size(4), kv_heads, dim, {}};
  const int64_t documents = draw.Size(10);
  while (std::ssize(c.starts) <= documents) {
    const int64_t left = 1000 - c.starts.back();
    c.starts.push_back(c.starts.back() + static_cast<int32_t>(draw.Size(left / 2) - draw.Coin()));
  }
  c.tokens = c.starts.back() + (draw.Coin() ? draw.Size(100) : 0);
  c.tokens = std::max<int64_t>(c.tokens, 1);
  c.options.scale = 1 / std::sqrt(static_cast<double>(dim));
  if (draw.Coin()) c.options.window = draw.Size(300);
  return c;
}

// What our own kernels on tensor cores may stumble over: lengths about those of tiles, windows that
// begin and end within one.
std::vector<Case> OwnCases(int64_t dim) {
  const std::vector<int32_t> starts = {0, 1, 64, 128, 128, 193, 493, 620, 749};
  const double scale = 1 / std::sqrt(static_cast<double>(dim));
  std::vector<Case> cases = {{"lengths", starts, 760, 4, 2, dim, {scale, 0, 0}},
                             {"lengths, capped", starts, 749, 3, 1, dim, {scale, 2.0, 0}},
                             {"capped and window", starts, 760, 4, 1, dim, {scale, 2.0, 70}}};
  for (const int64_t window : {1, 17, 64, 100}) {
    cases.push_back({"lengths and window", starts, 760, 2, 2, dim, {scale, 0, window}});
  }
  cases = AndDrawn<Case>(cases, [&](Draw& draw) {
    Case c = Drawn(draw, dim);
    if (draw.Coin()) c.options.softcap = 3.0;
    return c;
  });
  for (Case& c : cases) c.options.kernels = AttentionKernels::kOwn;
  return cases;
}

void ExpectTheCpus(const Case& c, DType dtype, double tolerance) {
  SCOPED_TRACE(std::string(c.name) + ", heads of " + std::to_string(c.dim) + ", window " +
               std::to_string(c.options.window) + ", " + NameOf(dtype));
  const Tensor qkv = Random(dtype, {c.tokens, (c.heads + 2 * c.kv_heads) * c.dim}, 1);
  const Tensor dout = Random(dtype, {c.tokens, c.heads * c.dim}, 2);
  std::vector<double> starts(c.starts.begin(), c.starts.end());
  const Tensor cu_seqlens = FromVector(DType::kI32, {static_cast<int64_t>(starts.size())}, starts);
  const Result want =
      Compute(CpuContext(), c, As(DType::kF32, qkv), As(DType::kF32, dout), cu_seqlens);
  const Tensor gpu_qkv = ToGpu(qkv), gpu_dout = ToGpu(dout), gpu_starts = ToGpu(cu_seqlens);
  const Result got = Compute(*GpuContext(), c, gpu_qkv, gpu_dout, gpu_starts);
  ExpectMatches(got.out, want.out, 4 * tolerance);
  const int64_t rows = c.starts.back();
  ExpectMatches(got.lse.Slice(0, 0, rows), want.lse.view().Slice(0, 0, rows), 4 * tolerance);
  ExpectMatches(got.dqkv, want.dqkv, 8 * tolerance);
  Case compact = c;  // which is the same again where kernels are our own
  compact.options.compact = true;
  const Result again = Compute(*GpuContext(), compact, gpu_qkv, gpu_dout, gpu_starts);
  EXPECT_EQ(ToVector(ToCpu(again.out)), ToVector(ToCpu(got.out)));
  EXPECT_EQ(ToVector(ToCpu(again.dqkv)), ToVector(ToCpu(got.dqkv)));
}

TEST(AttentionCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  for (const auto& [dtype, tolerance] : kCudaTypes) {
    for (const Case& c : AndDrawn<Case>(Cases(), [](Draw& draw) {
           return Drawn(draw, draw.Of({32, 64, 80, 96, 128}));
         })) {
      ExpectTheCpus(c, dtype, tolerance);
    }
  }
}

// By the width of heads, some of which are no compiled one's.
class OwnAttentionCudaTest : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(HeadsOf, OwnAttentionCudaTest,
                         testing::Values(8, 40, 64, 80, 96, 128, 160, 192, 256),
                         testing::PrintToStringParamName());

TEST_P(OwnAttentionCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  for (const Case& c : OwnCases(GetParam())) ExpectTheCpus(c, DType::kBF16, 1.0 / 128);
}

// Tests of which compute-sanitizer's racecheck and initcheck would not come to an end.
TEST(LongAttentionCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  std::vector<Case> cases = {
      {"equal ones behind a shorter one", {0, 100, 1124, 2148}, 2176, 4, 2, 64, {0.125, 0, 0}},
      {"equal ones behind an odd one", {0, 101, 1125, 2149}, 2176, 3, 1, 64, {0.125, 0, 0}}};
  for (const int64_t dim : {64, 128, 256}) {
    for (const int64_t window : {0, 1000}) {
      cases.push_back({"long", {0, 4096, 4200}, 4224, 2, 1, dim, {0.125, 0, window}});
      cases.back().options.kernels = AttentionKernels::kOwn;
    }
  }
  for (const Case& c : cases) ExpectTheCpus(c, DType::kBF16, 1.0 / 128);
}

// Whether this GPU has the library, rather than our own kernels for all. They want no workspace for
// the forward pass, and make no plans; asking the library makes one, here of 64 rows.
bool HasLibrary() {
  const std::vector<int32_t> starts = {0, 64};
  const PackedDocuments documents = {1, starts.data(), starts.data(), View(), View()};
  const AttentionShape shape = {64, 8, 2, 64, DType::kBF16};
  return AttentionWorkspace(GpuContext()->device(), shape, documents, {}).forward > 0;
}

// Documents that fill their call take another graph than those of different lengths.
TEST(LongAttentionCudaTest, BitsDoNotDependOnTheNeighborsLength) {
  SKIP_WITHOUT_GPU();
  constexpr int64_t kRows = 2048, kLength = 1024;
  for (const auto& [heads, kv_heads, dim] : {std::tuple{8, 2, 128}, {8, 2, 64}, {4, 4, 64}}) {
    for (const bool compact : {false, true}) {
      SCOPED_TRACE(std::to_string(heads) + " heads of " + std::to_string(dim) +
                   (compact ? ", compact" : ""));
      const Tensor qkv = ToGpu(Random(DType::kBF16, {kRows, (heads + 2 * kv_heads) * dim}, 1));
      const Tensor dout = ToGpu(Random(DType::kBF16, {kRows, heads * dim}, 2));
      const auto first = [&](const std::vector<int32_t>& starts) {
        const Case c = {"", starts, kRows, heads, kv_heads, dim, {0.125, 0, 0, compact}};
        const std::vector<double> values(starts.begin(), starts.end());
        const Tensor cu_seqlens = ToGpu(FromVector(DType::kI32, {std::ssize(values)}, values));
        return Compute(*GpuContext(), c, qkv, dout, cu_seqlens);
      };
      const Result equal = first({0, 1024, 2048}), uneven = first({0, 1024, 1924});
      const auto rows = [&](const Tensor& x) { return ToVector(ToCpu(x).Slice(0, 0, kLength)); };
      EXPECT_EQ(rows(equal.out), rows(uneven.out));
      EXPECT_EQ(rows(equal.lse), rows(uneven.lse));
      EXPECT_EQ(rows(equal.dqkv), rows(uneven.dqkv));
    }
  }
}

// A document alone, and the same one between others that begin within tiles.
TEST(AttentionCudaTest, BitsOfOurOwnDependOnTheDocumentAlone) {
  SKIP_WITHOUT_GPU();
  constexpr int64_t kRows = 512, kFirst = 37, kLength = 300, kHeads = 4, kKvHeads = 2;
  for (const auto& [dim, window, softcap] :
       {std::tuple{64, 0, 0.0}, {128, 0, 0.0}, {96, 90, 3.0}, {256, 100, 2.0}}) {
    SCOPED_TRACE("heads of " + std::to_string(dim));
    const auto compute = [&](const std::vector<int32_t>& starts, const Tensor& qkv,
                             const Tensor& dout) {
      AttentionOptions options = {0.125, softcap, window};
      options.kernels = AttentionKernels::kOwn;
      const Case c = {"", starts, dout.dim(0), kHeads, kKvHeads, dim, options};
      const std::vector<double> values(starts.begin(), starts.end());
      const Tensor cu_seqlens = ToGpu(FromVector(DType::kI32, {std::ssize(values)}, values));
      return Compute(*GpuContext(), c, ToGpu(qkv), ToGpu(dout), cu_seqlens);
    };
    const Tensor qkv = Random(DType::kBF16, {kRows, (kHeads + 2 * kKvHeads) * dim}, 1),
                 dout = Random(DType::kBF16, {kRows, kHeads * dim}, 2);
    const auto own = [&](const Tensor& x) { return x.Slice(0, kFirst, kFirst + kLength); };
    const auto copy = [&](const Tensor& x) {
      return FromVector(x.dtype(), {kLength, x.dim(1)}, ToVector(own(x)));
    };
    const Result alone = compute({0, kLength}, copy(qkv), copy(dout));
    const Result packed =
        compute({0, 10, kFirst, kFirst + kLength, kFirst + kLength + 70}, qkv, dout);
    EXPECT_EQ(ToVector(ToCpu(alone.out)), ToVector(own(ToCpu(packed.out))));
    EXPECT_EQ(ToVector(ToCpu(alone.lse)), ToVector(own(ToCpu(packed.lse))));
    EXPECT_EQ(ToVector(ToCpu(alone.dqkv)), ToVector(own(ToCpu(packed.dqkv))));
  }
}

// A launch for all heads, and compact ones for half of them.
TEST(LongAttentionCudaTest, BitsDoNotDependOnHowManyHeadsALaunchHas) {
  SKIP_WITHOUT_GPU();
  constexpr int64_t kRows = 8192, kHeads = 16, kKvHeads = 4, kDim = 64;
  Case c = {"wide", {0, 8000, 8100}, kRows, kHeads, kKvHeads, kDim, {0.125, 0, 0}};
  const Tensor qkv = ToGpu(Random(DType::kBF16, {kRows, (kHeads + 2 * kKvHeads) * kDim}, 1));
  const Tensor dout = ToGpu(Random(DType::kBF16, {kRows, kHeads * kDim}, 2));
  const Tensor cu_seqlens = ToGpu(FromVector(DType::kI32, {3}, {0, 8000, 8100}));
  const Result wide = Compute(*GpuContext(), c, qkv, dout, cu_seqlens);
  const auto bytes = [&] {
    const PackedDocuments documents = {2, c.starts.data(), c.starts.data(), View(), View()};
    return AttentionWorkspace(GpuContext()->device(), {kRows, kHeads, kKvHeads, kDim, DType::kBF16},
                              documents, c.options)
        .backward;
  };
  const int64_t wide_bytes = bytes();
  c.options.compact = true;
  if (HasLibrary()) {
    EXPECT_LT(bytes(), wide_bytes / 3 * 2);
  }
  const Result compact = Compute(*GpuContext(), c, qkv, dout, cu_seqlens);
  EXPECT_EQ(ToVector(ToCpu(compact.dqkv)), ToVector(ToCpu(wide.dqkv)));
}

// 800 MiB a query head.
TEST(LongAttentionCudaTest, BitsOfAVeryLongDocumentDoNotDependOnHowManyHeadsALaunchHas) {
  SKIP_WITHOUT_GPU();
  constexpr int64_t kRows = 20480, kHeads = 8, kKvHeads = 2, kDim = 16;
  const Tensor qkv = ToGpu(Random(DType::kBF16, {kRows, (kHeads + 2 * kKvHeads) * kDim}, 1));
  const Tensor dout = ToGpu(Random(DType::kBF16, {kRows, kHeads * kDim}, 2));
  for (const int32_t length : {18900, 20480}) {
    SCOPED_TRACE(length);
    const Tensor cu_seqlens =
        ToGpu(FromVector(DType::kI32, {2}, {0.0, static_cast<double>(length)}));
    Case c = {"", {0, length}, kRows, kHeads, kKvHeads, kDim, {0.25, 0, 0}};
    c.options.compact = true;  // one head at a time
    const std::vector<double> want =
        ToVector(ToCpu(Compute(*GpuContext(), c, qkv, dout, cu_seqlens).dqkv));
    c.options.compact = false;
    for (const int64_t heads : {2, 4, 8}) {
      c.options.score_bytes = heads * kRows * kRows * 2;
      EXPECT_EQ(ToVector(ToCpu(Compute(*GpuContext(), c, qkv, dout, cu_seqlens).dqkv)), want)
          << heads << " heads at a time";
    }
  }
}

// Of a document so long that the scores of all query heads of a key head would not fit: the same
// bits as if every query head had a copy of the key head, and dk and dv of the copies were added up
// in f32 and rounded once.
TEST(LongAttentionCudaTest, AVeryLongDocumentAddsUpItsHeads) {
  SKIP_WITHOUT_GPU();
  constexpr int64_t kRows = 19000, kGroup = 4, kDim = 16;
  const Case shared = {"shared", {0, 18900}, kRows, kGroup, 1, kDim, {0.25, 0, 0}};
  const Case copied = {"copied", {0, 18900}, kRows, kGroup, kGroup, kDim, {0.25, 0, 0}};
  const Tensor qkv = Random(DType::kBF16, {kRows, (kGroup + 2) * kDim}, 1);
  const Tensor cpu_dout = Random(DType::kBF16, {kRows, kGroup * kDim}, 2), dout = ToGpu(cpu_dout);
  const Tensor cu_seqlens = ToGpu(FromVector(DType::kI32, {2}, {0, 18900}));
  const std::vector<double> values = ToVector(qkv);
  std::vector<double> copies;
  for (int64_t r = 0; r < kRows; ++r) {
    const double* row = values.data() + r * (kGroup + 2) * kDim;
    copies.insert(copies.end(), row, row + kGroup * kDim);
    for (const int64_t part : {kGroup, kGroup + 1}) {
      for (int64_t h = 0; h < kGroup; ++h) {
        copies.insert(copies.end(), row + part * kDim, row + (part + 1) * kDim);
      }
    }
  }
  const Tensor qkv_copies = ToGpu(FromVector(DType::kBF16, {kRows, 3 * kGroup * kDim}, copies));
  const Result got = Compute(*GpuContext(), shared, ToGpu(qkv), dout, cu_seqlens);
  const Result of_copies = Compute(*GpuContext(), copied, qkv_copies, dout, cu_seqlens);
  EXPECT_EQ(ToVector(ToCpu(got.out)), ToVector(ToCpu(of_copies.out)));
  const std::vector<double> sums = ToVector(ToCpu(got.dqkv)),
                            parts = ToVector(ToCpu(of_copies.dqkv));
  std::vector<double> want;
  for (int64_t r = 0; r < kRows; ++r) {
    const double* row = parts.data() + r * 3 * kGroup * kDim;
    want.insert(want.end(), row, row + kGroup * kDim);
    for (const int64_t part : {kGroup, 2 * kGroup}) {
      for (int64_t c = 0; c < kDim; ++c) {
        float sum = 0;
        for (int64_t h = 0; h < kGroup; ++h) {
          sum += static_cast<float>(row[(part + h) * kDim + c]);
        }
        want.push_back(sum);
      }
    }
  }
  const Result plain = Compute(*GpuContext(), shared, ToGpu(As(DType::kF32, qkv)),
                               ToGpu(As(DType::kF32, cpu_dout)), cu_seqlens);
  ExpectMatches(got.dqkv, ToCpu(plain.dqkv), 8.0 / 128);
  if (!HasLibrary()) return;  // our own kernels add up all query heads before they round
  EXPECT_EQ(sums, ToVector(FromVector(DType::kBF16, {std::ssize(want)}, want)));
}

TEST(AttentionCudaTest, SaysWhyItIsSlow) {
  SKIP_WITHOUT_GPU();
  const auto why = [](const AttentionShape& shape, const AttentionOptions& options) {
    return std::string(WhyAttentionIsSlow(GpuContext()->device(), shape, options));
  };
  EXPECT_NE(why({1, 4, 2, 64, DType::kF32}, {}), "");
  EXPECT_NE(why({1, 4, 2, 60, DType::kBF16}, {}), "");
  EXPECT_EQ(why({1, 4, 2, 256, DType::kBF16}, {.softcap = 50, .window = 9}), "");
  EXPECT_EQ(why({int64_t{1} << 22, 4, 2, 64, DType::kBF16}, {}), "");  // 2^31 elements of q, k, v
}

TEST(AttentionCudaTest, CachedKeysGoBeforeTheQueries) {
  SKIP_WITHOUT_GPU();
  for (const auto& [dtype, tolerance] : kCudaTypes) {
    const Tensor q = Random(dtype, {3, 4 * 64}, 1), kv = Random(dtype, {40, 4 * 64}, 2);
    const std::vector<int32_t> starts_q = {0, 1, 3}, starts_k = {0, 25, 40};
    const Tensor device_q = FromVector(DType::kI32, {3}, {0, 1, 3});
    const Tensor device_k = FromVector(DType::kI32, {3}, {0, 25, 40});
    const auto run = [&](const Context& context, const Tensor& q, const Tensor& kv,
                         const Tensor& cu_q, const Tensor& cu_k) {
      const PackedDocuments documents = {2, starts_q.data(), starts_k.data(), cu_q, cu_k};
      const Tensor out = Tensor::Empty(*context.allocator, q.dtype(), {3, 4 * 64});
      const WorkspaceBytes bytes =
          AttentionWorkspace(context.device(), {3, 4, 2, 64, q.dtype()}, documents, {0.125, 0, 0});
      Attention(context.stream, Heads(q, 0, 4, 64), Heads(kv, 0, 2, 64), Heads(kv, 2, 2, 64),
                documents, {0.125, 0, 0}, Heads(out, 0, 4, 64), View(),
                Garbage(context, DType::kU8, {bytes.forward}));
      return out;
    };
    const Tensor want =
        run(CpuContext(), As(DType::kF32, q), As(DType::kF32, kv), device_q, device_k);
    const Tensor got = run(*GpuContext(), ToGpu(q), ToGpu(kv), ToGpu(device_q), ToGpu(device_k));
    ExpectMatches(got, want, 4 * tolerance);
  }
}

TEST(AttentionCudaTest, WhatIsPreparedIsWhatPassesUse) {
  SKIP_WITHOUT_GPU();
  const Context& context = *GpuContext();
  const bool library = HasLibrary();
  for (const bool compact : {false, true}) {
    // Lengths of no other test; the first document is a class of its own.
    const Case c = {"", {0, 1300, 1600, 1700}, 1728, 8, 2, 64, {0.125, 0, 0, compact}};
    const AttentionShape shape = {c.tokens, c.heads, c.kv_heads, c.dim, DType::kBF16};
    const std::atomic<bool> stop = false;
    const auto prepare = [&] {
      const AttentionProblem problem = {shape, c.starts, c.options};
      const std::vector<bool> first =
          PrepareAttention(context.device(), {problem, problem}, 3, stop);
      EXPECT_EQ(first, std::vector<bool>({library, false}));
      return NumAttentionPlans();
    };
    const int64_t before = NumAttentionPlans(), prepared = prepare();
    if (library && !compact) {
      EXPECT_EQ(prepared - before, 4);  // of two classes, both directions
    }
    const std::vector<double> values(c.starts.begin(), c.starts.end());
    const Tensor cu_seqlens = ToGpu(FromVector(DType::kI32, {std::ssize(values)}, values));
    Compute(context, c,
            ToGpu(Random(DType::kBF16, {c.tokens, (c.heads + 2 * c.kv_heads) * c.dim}, 1)),
            ToGpu(Random(DType::kBF16, {c.tokens, c.heads * c.dim}, 2)), cu_seqlens);
    EXPECT_EQ(NumAttentionPlans(), prepared);
    EXPECT_EQ(prepare(), prepared);
  }
}

}  // namespace
}  // namespace lockstep::kernels
