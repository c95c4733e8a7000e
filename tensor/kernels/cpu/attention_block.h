// How CPU attention cuts its work: by document, kv head and block of queries or keys, all functions
// of the document alone. The queries of a group of heads that share keys are rows of one matrix:
// row r is query r / G, head r mod G of the group.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "tensor/kernels/attention.h"
#include "tensor/kernels/gemm.h"

namespace lockstep::kernels::cpu {

inline constexpr int64_t kKeyBlock = 256;

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

inline Range Intersection(const Range& a, const Range& b) {
  return {std::max(a.begin, b.begin), std::min(a.end, b.end)};
}

// Queries in a block: enough rows for a product to be fast.
inline int64_t QueryBlock(int64_t group) { return std::max<int64_t>(16, 192 / group); }

// One document's share of one kv head.
struct Part {
  int64_t document, kv_head;
  int64_t q_begin, queries, k_begin, keys;  // rows of the pack

  int64_t position(int64_t query) const { return query + keys - queries; }
  bool has_one_key_block() const { return keys <= kKeyBlock; }

  // The keys that a query sees, and that some query of a range sees. Numbered in the document.
  Range KeysOf(int64_t query, int64_t window) const {
    const int64_t p = position(query);
    return {window > 0 ? std::max<int64_t>(0, p - window + 1) : 0, p + 1};
  }
  Range KeysOf(const Range& q, int64_t window) const {
    return {KeysOf(q.begin, window).begin, KeysOf(q.end - 1, window).end};
  }
  // The queries that see some key of a range.
  Range QueriesOf(const Range& k, int64_t window) const {
    const int64_t shift = keys - queries;
    const int64_t begin = std::max<int64_t>(0, k.begin - shift);
    const int64_t end = window > 0 ? std::min(queries, k.end - 1 + window - shift) : queries;
    return {begin, std::max(begin, end)};
  }
};

// A block of queries or of keys of a part: one task.
struct Task {
  Part part;
  Range rows;
};

enum class CutBy { kQueries, kKeys };

// All tasks, those with much to do first.
inline std::vector<Task> Tasks(const PackedDocuments& documents, int64_t kv_heads, CutBy cut,
                               int64_t block, int64_t window) {
  std::vector<Task> tasks;
  for (int64_t d = 0; d < documents.size; ++d) {
    Part part = {d,
                 0,
                 documents.starts_q[d],
                 documents.starts_q[d + 1] - documents.starts_q[d],
                 documents.starts_k[d],
                 documents.starts_k[d + 1] - documents.starts_k[d]};
    for (part.kv_head = 0; part.kv_head < kv_heads; ++part.kv_head) {
      const int64_t rows = cut == CutBy::kQueries ? part.queries : part.keys;
      for (int64_t begin = 0; begin < rows; begin += block) {
        tasks.push_back({part, {begin, std::min(rows, begin + block)}});
      }
    }
  }
  const auto cost = [&](const Task& task) {
    return task.rows.size() * (cut == CutBy::kQueries
                                   ? task.part.KeysOf(task.rows, window).size()
                                   : task.part.QueriesOf(task.rows, window).size());
  };
  std::stable_sort(tasks.begin(), tasks.end(),
                   [&](const Task& a, const Task& b) { return cost(a) > cost(b); });
  return tasks;
}

// A matrix of our own scratch memory.
template <typename T>
View Matrix(T* data, int64_t rows, int64_t columns) {
  return MakeView(data, DTypeOf<T>::value, Device{}, {rows, columns});
}

// Rows `range` of one kv head of k, v or their gradients, [keys, D].
inline View KeyRows(const View& x, const Part& part, const Range& range) {
  View rows = x.Slice(0, part.k_begin + range.begin, part.k_begin + range.end)
                  .Slice(1, part.kv_head, part.kv_head + 1);
  rows.rank = 2;
  rows.shape[1] = x.shape[2], rows.stride[1] = 1;
  return rows;
}

// The group's heads of a query in q, out or their gradients: G rows of D, `stride[1]` apart.
template <typename T>
T* QueryHeads(const View& x, const Part& part, int64_t group, int64_t query) {
  return x.as<T>() + (part.q_begin + query) * x.stride[0] + part.kv_head * group * x.stride[1];
}

// Rows of the matrix of queries `range`, from a pack and back.
template <typename T>
void Gather(const View& x, const Part& part, int64_t group, const Range& range, T* out) {
  const int64_t dim = x.shape[2];
  for (int64_t i = range.begin; i < range.end; ++i) {
    const T* heads = QueryHeads<T>(x, part, group, i);
    for (int64_t g = 0; g < group; ++g, out += dim) std::copy_n(heads + g * x.stride[1], dim, out);
  }
}
template <typename T>
void Scatter(const T* rows, const Part& part, int64_t group, const Range& range, const View& x) {
  const int64_t dim = x.shape[2];
  for (int64_t i = range.begin; i < range.end; ++i) {
    T* heads = QueryHeads<T>(x, part, group, i);
    for (int64_t g = 0; g < group; ++g, rows += dim)
      std::copy_n(rows, dim, heads + g * x.stride[1]);
  }
}

// c = alpha·a·b + beta·c
inline void Product(double alpha, const View& a, const View& b, double beta, const View& c) {
  cpu::Gemm(Stream{}, a, b, c, {.alpha = alpha, .beta = beta});
}

}  // namespace lockstep::kernels::cpu
