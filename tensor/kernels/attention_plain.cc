#include "tensor/kernels/attention_plain.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/fill.h"

namespace lockstep::kernels::plain {
namespace {

template <typename T>
T* Head(const View& x, int64_t row, int64_t head) {
  return x.as<T>() + row * x.stride[0] + head * x.stride[1];
}

template <typename T>
double Dot(const T* a, const T* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

template <typename T>
void AddScaled(double factor, const T* x, int64_t n, T* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<T>(y[i] + factor * x[i]);
}

// A query of a document: its row, and the rows of the keys that it sees.
struct Query {
  int64_t row, first_key, last_key;
};

// Calls body(query) for each query of each document.
template <typename Body>
void ForEachQuery(const PackedDocuments& documents, int64_t window, const Body& body) {
  for (int64_t d = 0; d < documents.size; ++d) {
    const int64_t k_begin = documents.starts_k[d], keys = documents.starts_k[d + 1] - k_begin;
    const int64_t q_begin = documents.starts_q[d], queries = documents.starts_q[d + 1] - q_begin;
    for (int64_t i = 0; i < queries; ++i) {
      const int64_t position = i + keys - queries;
      const int64_t first = window > 0 ? std::max<int64_t>(0, position - window + 1) : 0;
      body(Query{q_begin + i, k_begin + first, k_begin + position});
    }
  }
}

template <typename T>
double Score(const T* q, const T* k, int64_t n, const AttentionOptions& options) {
  const double z = options.scale * Dot(q, k, n);
  return options.softcap > 0 ? options.softcap * std::tanh(z / options.softcap) : z;
}

template <typename T>
void ForwardHead(const View& q, const View& k, const View& v, const AttentionOptions& options,
                 const Query& query, int64_t h, const View& out, const View& lse) {
  const int64_t dim = q.shape[2], kv_head = h / (q.shape[1] / k.shape[1]);
  std::vector<double> scores;
  for (int64_t j = query.first_key; j <= query.last_key; ++j) {
    scores.push_back(Score(Head<T>(q, query.row, h), Head<T>(k, j, kv_head), dim, options));
  }
  const double largest = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (const double s : scores) sum += std::exp(s - largest);
  const double log_sum = largest + std::log(sum);
  std::vector<double> mean(dim, 0.0);
  for (size_t j = 0; j < scores.size(); ++j) {
    const T* value = Head<T>(v, query.first_key + static_cast<int64_t>(j), kv_head);
    for (int64_t c = 0; c < dim; ++c) mean[c] += std::exp(scores[j] - log_sum) * value[c];
  }
  std::copy(mean.begin(), mean.end(), Head<T>(out, query.row, h));
  if (lse.data != nullptr) lse.as<T>()[query.row * q.shape[1] + h] = static_cast<T>(log_sum);
}

}  // namespace

void Attention(const View& q, const View& k, const View& v, const PackedDocuments& documents,
               const AttentionOptions& options, const View& out, const View& lse) {
  Fill(Stream{}, out, 0.0);
  DispatchFloat(q.dtype, [&](auto zero) {
    ForEachQuery(documents, options.window, [&](const Query& query) {
      for (int64_t h = 0; h < q.shape[1]; ++h) {
        ForwardHead<decltype(zero)>(q, k, v, options, query, h, out, lse);
      }
    });
  });
}

void AttentionBackward(const View& dout, const View& q, const View& k, const View& v,
                       const View& out, const View& lse, const PackedDocuments& documents,
                       const AttentionOptions& options, const View& dq, const View& dk,
                       const View& dv) {
  for (const View* x : {&dq, &dk, &dv}) Fill(Stream{}, *x, 0.0);
  const int64_t heads = q.shape[1], group = heads / k.shape[1], dim = q.shape[2];
  DispatchFloat(q.dtype, [&](auto zero) {
    using T = decltype(zero);
    ForEachQuery(documents, options.window, [&](const Query& query) {
      for (int64_t h = 0; h < heads; ++h) {
        const T *qi = Head<T>(q, query.row, h), *douti = Head<T>(dout, query.row, h);
        const double delta = Dot(douti, Head<T>(out, query.row, h), dim);
        for (int64_t j = query.first_key; j <= query.last_key; ++j) {
          const T *kj = Head<T>(k, j, h / group), *vj = Head<T>(v, j, h / group);
          const double s = Score(qi, kj, dim, options);
          const double p = std::exp(s - lse.as<T>()[query.row * heads + h]);
          const double t = options.softcap > 0 ? s / options.softcap : 0.0;
          const double ds = p * (Dot(douti, vj, dim) - delta) * (1 - t * t);
          AddScaled(p, douti, dim, Head<T>(dv, j, h / group));
          AddScaled(options.scale * ds, kj, dim, Head<T>(dq, query.row, h));
          AddScaled(options.scale * ds, qi, dim, Head<T>(dk, j, h / group));
        }
      }
    });
  });
}

}  // namespace lockstep::kernels::plain
