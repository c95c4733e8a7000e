// Flash attention in blocks over matrix products (Dao et al., 2022, with the recomputation of
// probabilities from the log-sum-exp). A task is one block of queries, or of keys, of one document
// and kv head; it writes only its own rows, so nothing is added across tasks.

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/thread_pool.h"
#include "tensor/kernels/attention.h"
#include "tensor/kernels/cpu/attention_block.h"
#include "tensor/kernels/cpu/math.h"
#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/fill.h"

namespace lockstep::kernels::cpu {
namespace {

struct Problem {
  View q, k, v;
  const PackedDocuments& documents;
  const AttentionOptions& options;

  int64_t heads() const { return q.shape[1]; }
  int64_t kv_heads() const { return k.shape[1]; }
  int64_t group() const { return heads() / kv_heads(); }
  int64_t dim() const { return q.shape[2]; }
};

// One thread's memory, kept between tasks.
template <typename T>
T* Scratch(int slot, int64_t size) {
  static thread_local std::vector<T> memory[8];
  if (static_cast<int64_t>(memory[slot].size()) < size) memory[slot].resize(size);
  return memory[slot].data();
}

template <typename T>
void Cap(T softcap, T* s, int64_t n) {
  for (int64_t i = 0; i < n; ++i) s[i] = softcap * Tanh(s[i] / softcap);
}

// The columns of the block of keys that row `row` of the block of queries sees.
Range Columns(const Part& part, const Range& queries, int64_t group, int64_t row, const Range& keys,
              int64_t window) {
  const Range seen = part.KeysOf(queries.begin + row / group, window);
  const int64_t begin = std::clamp(seen.begin, keys.begin, keys.end) - keys.begin;
  return {begin, std::max(begin, std::min(seen.end, keys.end) - keys.begin)};
}

template <typename T>
void ZeroOutside(const Range& columns, T* row, int64_t n) {
  std::fill(row, row + columns.begin, T{0});
  std::fill(row + columns.end, row + n, T{0});
}

// ---- Forward

// One row's running softmax: s becomes exp(s − max); what was summed before shrinks accordingly.
template <typename T>
void SoftmaxRow(const Range& columns, T* s, int64_t n, T* largest, T* sum, T* out, int64_t dim) {
  ZeroOutside(columns, s, n);
  if (columns.size() == 0) return;
  const T now = MaxOf(s + columns.begin, columns.size(), *largest);
  for (int64_t j = columns.begin; j < columns.end; ++j) s[j] = Exp(s[j] - now);
  const T shrink = Exp(*largest - now);
  const T* p = s + columns.begin;
  *sum = *sum * shrink + SumOf<T>(columns.size(), [p](int64_t j) { return p[j]; });
  *largest = now;
  if (shrink == T{1}) return;
  for (int64_t c = 0; c < dim; ++c) out[c] *= shrink;
}

template <typename T>
void ForwardTask(const Problem& problem, const Task& task, const View& out, const View& lse) {
  const auto& [part, queries] = task;
  const AttentionOptions& options = problem.options;
  const int64_t group = problem.group(), dim = problem.dim(), rows = queries.size() * group;
  T *q = Scratch<T>(0, rows * dim), *s = Scratch<T>(1, rows * kKeyBlock),
    *o = Scratch<T>(2, rows * dim), *largest = Scratch<T>(3, rows), *sum = Scratch<T>(4, rows);
  Gather(problem.q, part, group, queries, q);
  std::fill_n(o, rows * dim, T{0});
  std::fill_n(largest, rows, -std::numeric_limits<T>::infinity());
  std::fill_n(sum, rows, T{0});
  const Range all = part.KeysOf(queries, options.window);
  for (Range keys = all; keys.begin < all.end; keys.begin = keys.end) {
    keys.end = std::min(all.end, keys.begin + kKeyBlock);
    const int64_t n = keys.size();
    Product(options.scale, Matrix(q, rows, dim), Transposed(KeyRows(problem.k, part, keys)), 0,
            Matrix(s, rows, n));
    if (options.softcap > 0) Cap(static_cast<T>(options.softcap), s, rows * n);
    for (int64_t r = 0; r < rows; ++r) {
      SoftmaxRow(Columns(part, queries, group, r, keys, options.window), s + r * n, n, largest + r,
                 sum + r, o + r * dim, dim);
    }
    Product(1, Matrix(s, rows, n), KeyRows(problem.v, part, keys), 1, Matrix(o, rows, dim));
  }
  for (int64_t r = 0; r < rows; ++r) {
    const T scale = T{1} / sum[r];
    for (int64_t c = 0; c < dim; ++c) o[r * dim + c] *= scale;
  }
  Scatter(o, part, group, queries, out);
  if (lse.data == nullptr) return;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t row = part.q_begin + queries.begin + r / group;
    lse.as<T>()[row * problem.heads() + part.kv_head * group + r % group] =
        largest[r] + std::log(sum[r]);
  }
}

// ---- Backward

// What backward reads of the queries: [rows, D] and, for each row, lse and delta.
template <typename T>
struct QueryRows {
  QueryRows(const Problem& problem, const View& dout, const View& lse, const T* delta,
            const Part& part, const Range& queries)
      : rows(queries.size() * problem.group()),
        q(Scratch<T>(0, rows * problem.dim())),
        dout(Scratch<T>(1, rows * problem.dim())),
        lse(Scratch<T>(2, rows)),
        delta(Scratch<T>(3, rows)) {
    const int64_t group = problem.group();
    Gather(problem.q, part, group, queries, q);
    Gather(dout, part, group, queries, this->dout);
    for (int64_t i = 0; i < queries.size(); ++i) {
      const int64_t at =
          (part.q_begin + queries.begin + i) * problem.heads() + part.kv_head * group;
      std::copy_n(lse.as<T>() + at, group, this->lse + i * group);
      std::copy_n(delta + at, group, this->delta + i * group);
    }
  }
  int64_t rows;
  T *q, *dout, *lse, *delta;
};

// One row: scores become probabilities p, and dp becomes the gradient of scale·<q, k>.
template <typename T>
void BackwardRow(const Range& columns, T lse, T delta, T softcap, T* s, T* dp, int64_t n) {
  ZeroOutside(columns, s, n);
  ZeroOutside(columns, dp, n);
  if (softcap > 0) {
    Cap(softcap, s + columns.begin, columns.size());
    for (int64_t j = columns.begin; j < columns.end; ++j) {
      dp[j] = (dp[j] - delta) * (T{1} - s[j] / softcap * (s[j] / softcap));
    }
  } else {
    for (int64_t j = columns.begin; j < columns.end; ++j) dp[j] -= delta;
  }
  for (int64_t j = columns.begin; j < columns.end; ++j) {
    s[j] = Exp(s[j] - lse);
    dp[j] *= s[j];
  }
}

// p and ds, [rows, keys], of one block of queries and one of keys.
template <typename T>
struct Probabilities {
  Probabilities(const Problem& problem, const Part& part, const QueryRows<T>& rows,
                const Range& queries, const Range& keys) {
    const int64_t n = keys.size(), dim = problem.dim();
    const AttentionOptions& options = problem.options;
    T *s = Scratch<T>(4, rows.rows * n), *dp = Scratch<T>(5, rows.rows * n);
    p = Matrix(s, rows.rows, n);
    ds = Matrix(dp, rows.rows, n);
    Product(options.scale, Matrix(rows.q, rows.rows, dim),
            Transposed(KeyRows(problem.k, part, keys)), 0, p);
    Product(1, Matrix(rows.dout, rows.rows, dim), Transposed(KeyRows(problem.v, part, keys)), 0,
            ds);
    for (int64_t r = 0; r < rows.rows; ++r) {
      BackwardRow(Columns(part, queries, problem.group(), r, keys, options.window), rows.lse[r],
                  rows.delta[r], static_cast<T>(options.softcap), s + r * n, dp + r * n, n);
    }
  }
  View p, ds;
};

// What the tasks of backward share.
template <typename T>
struct BackwardProblem {
  const Problem& problem;
  View dout, lse;
  const T* delta;
  View dq, dk, dv;
};

// The gradient of a block of queries: over its keys, block by block.
template <typename T>
void QueryTask(const BackwardProblem<T>& b, const Task& task) {
  const auto& [part, queries] = task;
  if (part.has_one_key_block()) return;  // KeyTask sees to it
  const Problem& problem = b.problem;
  const QueryRows<T> rows(problem, b.dout, b.lse, b.delta, part, queries);
  const View dq = Matrix(Scratch<T>(6, rows.rows * problem.dim()), rows.rows, problem.dim());
  const Range all = part.KeysOf(queries, problem.options.window);
  for (Range keys = all; keys.begin < all.end; keys.begin = keys.end) {
    keys.end = std::min(all.end, keys.begin + kKeyBlock);
    const Probabilities<T> block(problem, part, rows, queries, keys);
    Product(problem.options.scale, block.ds, KeyRows(problem.k, part, keys),
            keys.begin == all.begin ? 0 : 1, dq);
  }
  Scatter(dq.as<T>(), part, problem.group(), queries, b.dq);
}

// The gradients of a block of keys and values: over the queries that see them, block by block, each
// with the keys that it sees alone. If it is the document's only block, the gradients of those
// queries are complete here too.
template <typename T>
void KeyTask(const BackwardProblem<T>& b, const Task& task) {
  const auto& [part, keys] = task;
  const Problem& problem = b.problem;
  const double scale = problem.options.scale;
  const int64_t dim = problem.dim();
  Fill(Stream{}, KeyRows(b.dk, part, keys), 0.0);
  Fill(Stream{}, KeyRows(b.dv, part, keys), 0.0);
  const Range all = part.QueriesOf(keys, problem.options.window);
  for (Range queries = all; queries.begin < all.end; queries.begin = queries.end) {
    queries.end = std::min(all.end, queries.begin + QueryBlock(problem.group()));
    const Range seen = Intersection(keys, part.KeysOf(queries, problem.options.window));
    const QueryRows<T> rows(problem, b.dout, b.lse, b.delta, part, queries);
    const Probabilities<T> block(problem, part, rows, queries, seen);
    Product(1, Transposed(block.p), Matrix(rows.dout, rows.rows, dim), 1,
            KeyRows(b.dv, part, seen));
    Product(scale, Transposed(block.ds), Matrix(rows.q, rows.rows, dim), 1,
            KeyRows(b.dk, part, seen));
    if (!part.has_one_key_block()) continue;
    const View dq = Matrix(Scratch<T>(6, rows.rows * dim), rows.rows, dim);
    Product(scale, block.ds, KeyRows(problem.k, part, seen), 0, dq);
    Scatter(dq.as<T>(), part, problem.group(), queries, b.dq);
  }
}

// delta[i, h] = <dout[i, h], out[i, h]>
template <typename T>
void Deltas(const View& dout, const View& out, T* delta) {
  const int64_t heads = out.shape[1], dim = out.shape[2];
  ParallelForRange(out.shape[0], 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t h = 0; h < heads; ++h) {
        delta[i * heads + h] = Dot(dout.as<T>() + i * dout.stride[0] + h * dout.stride[1],
                                   out.as<T>() + i * out.stride[0] + h * out.stride[1], dim);
      }
    }
  });
}

void ZeroBehind(int64_t last, const View& x) {
  if (last < x.shape[0]) Fill(Stream{}, x.Slice(0, last, x.shape[0]), 0.0);
}

}  // namespace

void Attention(const Stream& stream, const View& q, const View& k, const View& v,
               const PackedDocuments& documents, const AttentionOptions& options, const View& out,
               const View& lse, const View& workspace) {
  const Problem problem = {q, k, v, documents, options};
  const std::vector<Task> tasks = Tasks(documents, problem.kv_heads(), CutBy::kQueries,
                                        QueryBlock(problem.group()), options.window);
  DispatchFloat(q.dtype, [&](auto zero) {
    ParallelFor(static_cast<int64_t>(tasks.size()),
                [&](int64_t i) { ForwardTask<decltype(zero)>(problem, tasks[i], out, lse); });
  });
  ZeroBehind(documents.starts_q[documents.size], out);
}

void AttentionBackward(const Stream& stream, const View& dout, const View& q, const View& k,
                       const View& v, const View& out, const View& lse,
                       const PackedDocuments& documents, const AttentionOptions& options,
                       const View& dq, const View& dk, const View& dv, const View& workspace) {
  const Problem problem = {q, k, v, documents, options};
  const std::vector<Task> by_queries = Tasks(documents, problem.kv_heads(), CutBy::kQueries,
                                             QueryBlock(problem.group()), options.window);
  const std::vector<Task> by_keys =
      Tasks(documents, problem.kv_heads(), CutBy::kKeys, kKeyBlock, options.window);
  DispatchFloat(q.dtype, [&](auto zero) {
    using T = decltype(zero);
    Deltas(dout, out, workspace.as<T>());
    const BackwardProblem<T> b = {problem, dout, lse, workspace.as<T>(), dq, dk, dv};
    const int64_t key_tasks = static_cast<int64_t>(by_keys.size());
    ParallelFor(key_tasks + static_cast<int64_t>(by_queries.size()), [&](int64_t i) {
      i < key_tasks ? KeyTask(b, by_keys[i]) : QueryTask(b, by_queries[i - key_tasks]);
    });
  });
  ZeroBehind(documents.starts_q[documents.size], dq);
  ZeroBehind(documents.starts_k[documents.size], dk);
  ZeroBehind(documents.starts_k[documents.size], dv);
}

WorkspaceBytes AttentionWorkspace(const AttentionShape& shape, const PackedDocuments& documents,
                                  const AttentionOptions& options) {
  const int64_t deltas = shape.tokens_q * shape.heads * static_cast<int64_t>(SizeOf(shape.dtype));
  return {.forward = 0, .backward = deltas};
}

}  // namespace lockstep::kernels::cpu
