#include "tensor/kernels/attention.h"

#include <numeric>

#include "base/thread_pool.h"
#include "tensor/kernels/attention_plain.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

const Stream kStream = CpuContext().stream;

// Starts of documents of these lengths, for the host and the CPU "device".
struct Starts {
  explicit Starts(const std::vector<int>& lengths) : rows(lengths.size() + 1, 0) {
    std::partial_sum(lengths.begin(), lengths.end(), rows.begin() + 1);
  }
  View view() {
    return MakeView(rows.data(), DType::kI32, Device{}, {static_cast<int64_t>(rows.size())});
  }
  int64_t total() const { return rows.back(); }
  std::vector<int32_t> rows;
};

struct Case {
  int64_t heads, kv_heads, dim;
  std::vector<int> queries, keys;  // of each document
  AttentionOptions options;
  int64_t tail = 0;  // rows behind the last document
};

// The heads of a merged tensor [T, (H + 2K)·D].
View HeadsOf(const View& merged, int64_t first, int64_t count, int64_t dim) {
  View view = merged.Slice(1, first * dim, (first + count) * dim);
  view.rank = 3;
  view.shape[1] = count, view.shape[2] = dim;
  view.stride[1] = dim, view.stride[2] = 1;
  return view;
}

// Inputs of a case in a merged tensor; queries and keys have their own rows where they differ.
struct Problem {
  Problem(const Case& c, DType dtype, uint32_t seed)
      : starts_q(c.queries),
        starts_k(c.keys),
        tokens_q(starts_q.total() + c.tail),
        tokens_k(starts_k.total() + c.tail),
        width((c.heads + 2 * c.kv_heads) * c.dim),
        q_merged(Random(dtype, {tokens_q, width}, seed)),
        kv_merged(Random(dtype, {tokens_k, width}, seed + 1)),
        dout_merged(Random(dtype, {tokens_q, c.heads * c.dim}, seed + 2)),
        q(HeadsOf(q_merged, 0, c.heads, c.dim)),
        k(HeadsOf(kv_merged, c.heads, c.kv_heads, c.dim)),
        v(HeadsOf(kv_merged, c.heads + c.kv_heads, c.kv_heads, c.dim)),
        dout(HeadsOf(dout_merged, 0, c.heads, c.dim)) {
    documents = {static_cast<int64_t>(c.queries.size()), starts_q.rows.data(), starts_k.rows.data(),
                 starts_q.view(), starts_k.view()};
  }
  Starts starts_q, starts_k;
  int64_t tokens_q, tokens_k, width;
  Tensor q_merged, kv_merged, dout_merged;
  View q, k, v, dout;
  PackedDocuments documents;
};

// What forward and backward write, between guard bands.
struct Results {
  Results(const Case& c, const Problem& p, DType dtype)
      : out_rows(dtype, {p.tokens_q, c.heads * c.dim}),
        lse(dtype, {p.tokens_q, c.heads}),
        dq_rows(dtype, {p.tokens_q, p.width}),
        dkv_rows(dtype, {p.tokens_k, p.width}),
        out(HeadsOf(out_rows, 0, c.heads, c.dim)),
        dq(HeadsOf(dq_rows, 0, c.heads, c.dim)),
        dk(HeadsOf(dkv_rows, c.heads, c.kv_heads, c.dim)),
        dv(HeadsOf(dkv_rows, c.heads + c.kv_heads, c.kv_heads, c.dim)) {}
  std::vector<double> All() const {
    std::vector<double> all;
    for (const View* x : {&out, &dq, &dk, &dv}) {
      const std::vector<double> part = ToVector(*x);
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  }
  Guarded out_rows, lse, dq_rows, dkv_rows;
  View out, dq, dk, dv;
};

void RunBlocked(const Case& c, const Problem& p, const Results& r) {
  const WorkspaceBytes bytes = AttentionWorkspace(
      kStream.device, {p.tokens_q, c.heads, c.kv_heads, c.dim, p.q.dtype}, p.documents, c.options);
  const Guarded workspace(DType::kU8, {bytes.backward});
  Attention(kStream, p.q, p.k, p.v, p.documents, c.options, r.out, r.lse, View{});
  AttentionBackward(kStream, p.dout, p.q, p.k, p.v, r.out, r.lse, p.documents, c.options, r.dq,
                    r.dk, r.dv, workspace);
}

void RunPlain(const Case& c, const Problem& p, const Results& r) {
  plain::Attention(p.q, p.k, p.v, p.documents, c.options, r.out, r.lse);
  plain::AttentionBackward(p.dout, p.q, p.k, p.v, r.out, r.lse, p.documents, c.options, r.dq, r.dk,
                           r.dv);
}

void ExpectSame(const Case& c, DType dtype, double tolerance) {
  const Problem p(c, dtype, 1);
  const Results blocked(c, p, dtype), want(c, p, dtype);
  RunBlocked(c, p, blocked);
  RunPlain(c, p, want);
  ExpectNear(blocked.out, want.out, tolerance, tolerance);
  ExpectNear(blocked.dq, want.dq, tolerance, 4 * tolerance);
  ExpectNear(blocked.dk, want.dk, tolerance, 8 * tolerance);
  ExpectNear(blocked.dv, want.dv, tolerance, 8 * tolerance);
}

TEST(AttentionTest, BlocksAgreeWithTheDefinition) {
  const std::vector<std::vector<int>> packs = {{1}, {0, 3, 0}, {1, 127, 0, 65}, {300}, {256, 257}};
  for (const std::vector<int>& lengths : packs) {
    for (const int64_t window : {0, 1, 7, 130, 256}) {
      for (const double softcap : {0.0, 2.0}) {
        const AttentionOptions options = {.scale = 0.3, .softcap = softcap, .window = window};
        ExpectSame({6, 2, 5, lengths, lengths, options, 3}, DType::kF64, 1e-12);
        ExpectSame({6, 2, 5, lengths, lengths, options, 3}, DType::kF32, 1e-5);
      }
    }
  }
}

TEST(AttentionTest, BlocksAgreeForAnyGroupAndHeadSize) {
  for (const auto& [heads, kv_heads, dim] :
       std::vector<std::tuple<int64_t, int64_t, int64_t>>{{1, 1, 1}, {3, 3, 64}, {8, 1, 16}}) {
    ExpectSame({heads, kv_heads, dim, {150, 20}, {150, 20}, {.scale = 0.125}, 0}, DType::kF64,
               1e-12);
    ExpectSame({heads, kv_heads, dim, {150, 20}, {150, 20}, {.scale = 0.125}, 0}, DType::kF32,
               1e-5);
  }
}

TEST(AttentionTest, IsNotSlowOnTheCpu) {
  EXPECT_EQ(WhyAttentionIsSlow(Device(), {1, 4, 2, 256, DType::kF32}, {.softcap = 50}), "");
}

TEST(AttentionTest, NewQueriesSeeTheCacheBehindThem) {
  const Case step = {4, 2, 8, {1, 5, 0}, {300, 5, 9}, {.scale = 0.3}, 0};
  ExpectSame(step, DType::kF64, 1e-12);
  Case windowed = step;
  windowed.options.window = 4;
  ExpectSame(windowed, DType::kF64, 1e-12);

  // One by one is the same as all at once.
  const Case whole = {2, 1, 4, {6}, {6}, {.scale = 0.5, .window = 3}, 0};
  const Problem p(whole, DType::kF64, 1);
  const Results r(whole, p, DType::kF64);
  RunBlocked(whole, p, r);
  for (int length = 1; length <= 6; ++length) {
    Starts one({1}), cached({length});
    const PackedDocuments documents = {1, one.rows.data(), cached.rows.data(), one.view(),
                                       cached.view()};
    const Guarded out(DType::kF64, {1, 2, 4});
    Attention(kStream, p.q.Slice(0, length - 1, length), p.k, p.v, documents, whole.options, out,
              View{}, View{});
    ExpectNear(out, r.out.Slice(0, length - 1, length), 1e-13, 1e-15);
  }
}

TEST(AttentionTest, AWindowOfWSeesTheLastWKeys) {
  // With equal keys the output is the mean of the values seen; value j is j.
  for (const int64_t window : {0, 1, 2, 3, 10, 11}) {
    const Case c = {1, 1, 1, {10}, {10}, {.scale = 1, .window = window}, 0};
    const Problem p(c, DType::kF64, 1);
    const Results r(c, p, DType::kF64);
    Starts ten({10});
    for (int64_t j = 0; j < 10; ++j) {
      p.k.as<double>()[j * p.k.stride[0]] = 0;
      p.v.as<double>()[j * p.v.stride[0]] = static_cast<double>(j);
    }
    RunBlocked(c, p, r);
    for (int64_t i = 0; i < 10; ++i) {
      const int64_t first = window == 0 ? 0 : std::max<int64_t>(0, i - window + 1);
      EXPECT_NEAR(ToVector(r.out)[i], static_cast<double>(first + i) / 2, 1e-14)
          << "window " << window << ", query " << i;
      EXPECT_NEAR(ToVector(r.lse)[i], std::log(static_cast<double>(i - first + 1)), 1e-14);
    }
  }
}

// Rows [begin, end) of all results, as bits that can be compared.
std::vector<double> Rows(const Results& r, int64_t begin, int64_t end) {
  std::vector<double> rows;
  for (const View* x : {&r.out, &r.dq, &r.dk, &r.dv}) {
    const std::vector<double> part = ToVector(x->Slice(0, begin, end));
    rows.insert(rows.end(), part.begin(), part.end());
  }
  return rows;
}

TEST(AttentionTest, NoBitCrossesDocuments) {
  const Case c = {6, 2, 16, {40, 200, 33}, {40, 200, 33}, {.scale = 0.25}, 7};
  const Problem p(c, DType::kF32, 1), other(c, DType::kF32, 50);
  const Results before(c, p, DType::kF32), after(c, p, DType::kF32);
  RunBlocked(c, p, before);
  for (const auto& [mine, theirs] : {std::pair{&p.q_merged, &other.q_merged},
                                     {&p.kv_merged, &other.kv_merged},
                                     {&p.dout_merged, &other.dout_merged}}) {
    const int64_t width = mine->dim(1);  // another second document and another tail
    for (const auto& [begin, end] : {std::pair{40, 240}, {273, 280}}) {
      std::copy_n(theirs->view().as<float>() + begin * width, (end - begin) * width,
                  mine->view().as<float>() + begin * width);
    }
  }
  RunBlocked(c, p, after);
  EXPECT_EQ(Rows(after, 0, 40), Rows(before, 0, 40));
  EXPECT_EQ(Rows(after, 240, 273), Rows(before, 240, 273));
  EXPECT_NE(Rows(after, 40, 240), Rows(before, 40, 240));
  EXPECT_EQ(Rows(after, 273, 280), std::vector<double>(Rows(after, 273, 280).size(), 0.0));
}

TEST(AttentionTest, AnyPackingGivesADocumentTheSameBits) {
  const std::vector<int> lengths = {200, 1, 77};
  const Case together = {6, 2, 16, lengths, lengths, {.scale = 0.25}, 0};
  const Problem p(together, DType::kF32, 1);
  const Results r(together, p, DType::kF32);
  RunBlocked(together, p, r);
  int64_t begin = 0;
  for (const int length : lengths) {
    const Case alone = {6, 2, 16, {length}, {length}, {.scale = 0.25}, 5};
    const Problem single(alone, DType::kF32, 9);
    for (const auto& [from, to] : {std::pair{&p.q_merged, &single.q_merged},
                                   {&p.kv_merged, &single.kv_merged},
                                   {&p.dout_merged, &single.dout_merged}}) {
      const int64_t width = from->dim(1);
      std::copy_n(from->view().as<float>() + begin * width, length * width, to->view().as<float>());
    }
    const Results s(alone, single, DType::kF32);
    RunBlocked(alone, single, s);
    EXPECT_EQ(Rows(s, 0, length), Rows(r, begin, begin + length)) << "length " << length;
    begin += length;
  }
}

TEST(AttentionTest, BitsDoNotDependOnThreads) {
  const Case c = {6, 2, 16, {300, 10}, {300, 10}, {.scale = 0.25, .window = 150}, 0};
  const Problem p(c, DType::kF32, 1);
  const Results one(c, p, DType::kF32), four(c, p, DType::kF32);
  SetNumThreads(1);
  RunBlocked(c, p, one);
  SetNumThreads(4);
  RunBlocked(c, p, four);
  EXPECT_EQ(four.All(), one.All());
}

TEST(AttentionDeathTest, RefusesDocumentsThatDoNotFit) {
  const Case c = {2, 1, 4, {3}, {2}, {}, 1};
  const Problem p(c, DType::kF32, 1);
  const Results r(c, p, DType::kF32);
  EXPECT_DEATH(RunBlocked(c, p, r), "document 0 has 3 queries and 2 keys");
  const Problem q({3, 2, 4, {3}, {3}, {}, 0}, DType::kF32, 1);
  EXPECT_DEATH(Attention(kStream, q.q, q.k, q.v, q.documents, {}, r.out, View{}, View{}),
               "multiple of the 2 kv heads, got 3");
}

}  // namespace
}  // namespace lockstep::kernels
