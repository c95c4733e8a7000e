#include "nn/svd.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "base/thread_pool.h"
#include "tensor/kernels/philox.h"

namespace lockstep::nn {
namespace {

using Vector = std::vector<double>;

constexpr double kTolerance = 1e-7;  // of residuals, relative to the largest singular value
constexpr int64_t kGrain = 64;       // rows or columns a task

double Dot(const Vector& a, const Vector& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

class Bidiagonalization {
 public:
  Bidiagonalization(const std::vector<float>& w, int64_t rows, int64_t columns)
      : w_(w), rows_(rows), columns_(columns), next_(columns) {
    for (int64_t i = 0; i < columns; ++i) {
      const auto words = kernels::Philox({{static_cast<uint32_t>(i), 0, 0, 7}}, /*key=*/1);
      next_[i] = words.word[0] * 0x1p-32 - 0.5;
    }
    norm_ = Normalize(next_);
  }

  int64_t size() const { return static_cast<int64_t>(alpha_.size()); }
  bool exhausted() const { return norm_ == 0; }
  double last_beta() const { return norm_; }
  const std::vector<Vector>& u() const { return u_; }
  const std::vector<Vector>& v() const { return v_; }
  double alpha(int64_t i) const { return alpha_[i]; }
  double beta(int64_t i) const { return beta_[i]; }  // between i and i + 1

  // One more u and v: W V = U B with B upper bidiagonal.
  void Extend() {
    if (!v_.empty()) beta_.push_back(norm_);
    v_.push_back(next_);
    Vector u = Times(v_.back());
    Orthogonalize(u_, u);
    alpha_.push_back(Normalize(u));
    u_.push_back(u);
    next_ = TransposedTimes(u);
    Orthogonalize(v_, next_);
    norm_ = Normalize(next_);
  }

 private:
  Vector Times(const Vector& x) const {
    Vector y(rows_);
    ParallelForRange(rows_, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        double sum = 0;
        for (int64_t j = 0; j < columns_; ++j) sum += w_[i * columns_ + j] * x[j];
        y[i] = sum;
      }
    });
    return y;
  }
  Vector TransposedTimes(const Vector& x) const {
    Vector y(columns_, 0.0);
    ParallelForRange(columns_, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = 0; i < rows_; ++i) {
        for (int64_t j = begin; j < end; ++j) y[j] += w_[i * columns_ + j] * x[i];
      }
    });
    return y;
  }
  // Twice is enough (Kahan and Parlett).
  static void Orthogonalize(const std::vector<Vector>& basis, Vector& x) {
    for (int pass = 0; pass < 2; ++pass) {
      for (const Vector& b : basis) {
        const double along = Dot(b, x);
        for (size_t i = 0; i < x.size(); ++i) x[i] -= along * b[i];
      }
    }
  }
  // Returns the length; what is rounding error becomes zero.
  double Normalize(Vector& x) {
    const double length = std::sqrt(Dot(x, x));
    largest_ = std::max(largest_, length);
    if (length <= 1e-13 * largest_) {
      std::fill(x.begin(), x.end(), 0.0);
      return 0;
    }
    for (double& value : x) value /= length;
    return length;
  }

  const std::vector<float>& w_;
  int64_t rows_, columns_;
  std::vector<Vector> u_, v_;
  Vector alpha_, beta_;
  Vector next_;
  double norm_ = 0, largest_ = 0;
};

// B = P Σ Qᵀ of a small square matrix, columns of P and Q, by one-sided Jacobi rotations.
struct SmallSvd {
  std::vector<Vector> p, q;  // by column
  Vector s;                  // descending
};

SmallSvd JacobiSvd(std::vector<Vector> columns) {
  const size_t n = columns.size();
  std::vector<Vector> q(n, Vector(n, 0.0));
  for (size_t i = 0; i < n; ++i) q[i][i] = 1;
  const auto rotate = [n](Vector& a, Vector& b, double c, double s) {
    for (size_t k = 0; k < n; ++k) {
      const double x = a[k], y = b[k];
      a[k] = c * x - s * y;
      b[k] = s * x + c * y;
    }
  };
  bool again = true;
  for (int sweep = 0; again && sweep < 60; ++sweep) {
    again = false;
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = i + 1; j < n; ++j) {
        const double aa = Dot(columns[i], columns[i]), bb = Dot(columns[j], columns[j]);
        const double ab = Dot(columns[i], columns[j]);
        if (std::abs(ab) <= 1e-15 * std::sqrt(aa * bb)) continue;
        again = true;
        const double zeta = (bb - aa) / (2 * ab);
        const double t = std::copysign(1 / (std::abs(zeta) + std::sqrt(1 + zeta * zeta)), zeta);
        const double c = 1 / std::sqrt(1 + t * t);
        rotate(columns[i], columns[j], c, c * t);
        rotate(q[i], q[j], c, c * t);
      }
    }
  }
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  Vector lengths(n);
  for (size_t i = 0; i < n; ++i) lengths[i] = std::sqrt(Dot(columns[i], columns[i]));
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return lengths[a] > lengths[b]; });
  SmallSvd out;
  for (const size_t i : order) {
    for (double& x : columns[i]) x = lengths[i] > 0 ? x / lengths[i] : 0;
    out.p.push_back(std::move(columns[i]));
    out.q.push_back(std::move(q[i]));
    out.s.push_back(lengths[i]);
  }
  return out;
}

SmallSvd SvdOf(const Bidiagonalization& b) {
  std::vector<Vector> columns(b.size(), Vector(b.size(), 0.0));
  for (int64_t i = 0; i < b.size(); ++i) {
    columns[i][i] = b.alpha(i);
    if (i + 1 < b.size()) columns[i + 1][i] = b.beta(i);
  }
  return JacobiSvd(std::move(columns));
}

Vector Combine(const std::vector<Vector>& basis, const Vector& weights) {
  Vector out(basis[0].size(), 0.0);
  for (size_t k = 0; k < basis.size(); ++k) {
    for (size_t i = 0; i < out.size(); ++i) out[i] += weights[k] * basis[k][i];
  }
  return out;
}

std::vector<float> Transposed(const std::vector<float>& w, int64_t rows, int64_t columns) {
  std::vector<float> out(w.size());
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) out[j * rows + i] = w[i * columns + j];
  }
  return out;
}

}  // namespace

LeadingSvd LargestSingularVectors(const std::vector<float>& w, int64_t rows, int64_t columns,
                                  int64_t r) {
  CHECK_LE(r, std::min(rows, columns));
  if (rows < columns) {
    // B is the whole of W once V is complete, not yet when U is.
    LeadingSvd out = LargestSingularVectors(Transposed(w, rows, columns), columns, rows, r);
    std::swap(out.u, out.v);
    return out;
  }
  Bidiagonalization b(w, rows, columns);
  SmallSvd small;
  for (int64_t size = 2 * r + 32;; size += size / 2) {
    const int64_t wanted = std::min(size, columns);
    while (b.size() < wanted && !b.exhausted()) b.Extend();
    small = SvdOf(b);
    if (b.size() == columns || b.exhausted()) break;
    // W v_i = s_i u_i exactly; Wᵀ u_i misses s_i v_i by beta times the last element of p_i.
    double residual = 0;
    for (int64_t i = 0; i < r; ++i) {
      residual = std::max(residual, std::abs(b.last_beta() * small.p[i].back()));
    }
    if (residual <= kTolerance * small.s[0]) break;
  }
  LeadingSvd out;
  for (int64_t i = 0; i < r; ++i) {
    if (i < b.size()) {
      out.s.push_back(small.s[i]);
      out.u.push_back(Combine(b.u(), small.p[i]));
      out.v.push_back(Combine(b.v(), small.q[i]));
    } else {
      out.s.push_back(0);
      out.u.emplace_back(rows, 0.0);
      out.v.emplace_back(columns, 0.0);
    }
  }
  return out;
}

}  // namespace lockstep::nn
