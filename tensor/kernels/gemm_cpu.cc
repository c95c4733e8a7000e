#include <dnnl.h>
#include <omp.h>

#include <algorithm>
#include <vector>

#include "base/thread_pool.h"
#include "tensor/kernels/cpu/convert.h"
#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/gemm.h"

namespace lockstep::kernels::cpu {
namespace {

// C is cut into tiles by its shape alone; a tile is one task, computed by one thread in one order.
struct Tiling {
  int64_t rows, columns;  // of a tile; the last ones may be smaller
};

// Tiles are large enough that packing operands costs little, and enough for several threads where
// C has room for them and the work is worth more calls. 8 rows by 48 columns are what the library's
// kernel computes in registers.
Tiling TilingOf(int64_t m, int64_t n, int64_t k) {
  constexpr int64_t kRowStep = 8, kColumnStep = 48, kEnoughTiles = 8;
  constexpr int64_t kLittleWork = int64_t{1} << 22;  // multiplications: some 40 µs of a thread
  const auto part = [](int64_t size, int64_t parts, int64_t step) {
    return ((size + parts - 1) / parts + step - 1) / step * step;
  };
  const int64_t row_parts = m <= 192 ? 1 : (m + 127) / 128;
  // Whole rows where they are little work: the adapters' second product has a K of r alone.
  int64_t column_parts = 128 * n * k <= kLittleWork ? 1 : (n + 383) / 384;
  while (row_parts * column_parts < kEnoughTiles && n > 2 * kColumnStep * column_parts &&
         m * n * k > kLittleWork * row_parts * column_parts) {
    column_parts *= 2;
  }
  return {part(m, row_parts, kRowStep), part(n, column_parts, kColumnStep)};
}

// C = alpha · A · B + beta · C with one thread of oneDNN.
void Multiply(float alpha, const View& a, const View& b, float beta, const View& c) {
  omp_set_num_threads(1);  // for the calling thread alone; bits depend on it
  const MatrixLayout la = LayoutOf(a), lb = LayoutOf(b), lc = LayoutOf(c);
  const dnnl_status_t status = dnnl_sgemm(la.transposed ? 'T' : 'N', lb.transposed ? 'T' : 'N',
                                          c.shape[0], c.shape[1], a.shape[1], alpha, a.as<float>(),
                                          la.ld, b.as<float>(), lb.ld, beta, c.as<float>(), lc.ld);
  CHECK_EQ(status, dnnl_success) << "[gemm] oneDNN refuses " << Describe(a) << " · " << Describe(b);
}

// The same in plain loops, the sum over K in order.
void Multiply(double alpha, const View& a, const View& b, double beta, const View& c) {
  std::vector<double> sums(c.shape[1]);
  for (int64_t i = 0; i < c.shape[0]; ++i) {
    std::fill(sums.begin(), sums.end(), 0.0);
    for (int64_t k = 0; k < a.shape[1]; ++k) {
      const double aik = a.as<double>()[i * a.stride[0] + k * a.stride[1]];
      const double* bk = b.as<double>() + k * b.stride[0];
      if (b.stride[1] == 1) {
        for (int64_t j = 0; j < c.shape[1]; ++j) sums[j] += aik * bk[j];
      } else {
        for (int64_t j = 0; j < c.shape[1]; ++j) sums[j] += aik * bk[j * b.stride[1]];
      }
    }
    double* row = c.as<double>() + i * c.stride[0];
    for (int64_t j = 0; j < c.shape[1]; ++j) {
      row[j] = alpha * sums[j] + (beta == 0 ? 0.0 : beta * row[j]);
    }
  }
}

// C = beta · C + bias; C is not read where beta = 0.
template <typename T>
void Prepare(const View& c, T beta, const View& bias) {
  std::vector<T> row(c.shape[1], T{0});
  if (bias.rank != 0) Convert(bias, 0, c.shape[1], row.data());
  for (int64_t i = 0; i < c.shape[0]; ++i) {
    T* out = c.as<T>() + i * c.stride[0];
    for (int64_t j = 0; j < c.shape[1]; ++j) {
      out[j] = row[j] + (beta == T{0} ? T{0} : beta * out[j]);
    }
  }
}

template <typename T>
void ComputeTile(const View& a, const View& b, const View& c, const GemmOptions& options) {
  T beta = static_cast<T>(options.beta);
  if (options.bias.rank != 0 || a.shape[1] == 0) {
    Prepare(c, beta, options.bias);
    beta = 1;
  }
  if (a.shape[1] > 0) Multiply(static_cast<T>(options.alpha), a, b, beta, c);
}

View BiasOf(const GemmOptions& options, int64_t begin, int64_t end) {
  return options.bias.rank == 0 ? View{} : options.bias.Slice(0, begin, end);
}

// B in the compute type.
template <typename T>
void Product(const View& a, const View& b, const View& c, const GemmOptions& options) {
  const Tiling tile = TilingOf(c.shape[0], c.shape[1], a.shape[1]);
  const int64_t row_tiles = (c.shape[0] + tile.rows - 1) / tile.rows;
  const int64_t column_tiles = (c.shape[1] + tile.columns - 1) / tile.columns;
  // Neighboring tasks share columns of B, the larger operand.
  ParallelFor(row_tiles * column_tiles, [&](int64_t task) {
    const int64_t i = task % row_tiles * tile.rows, j = task / row_tiles * tile.columns;
    const int64_t i_end = std::min(i + tile.rows, c.shape[0]);
    const int64_t j_end = std::min(j + tile.columns, c.shape[1]);
    ComputeTile<T>(a.Slice(0, i, i_end), b.Slice(1, j, j_end),
                   c.Slice(0, i, i_end).Slice(1, j, j_end),
                   {options.alpha, options.beta, BiasOf(options, j, j_end)});
  });
}

// A copy of B in the compute type, laid out alike, in `memory`.
template <typename T>
View Converted(const View& b, std::vector<T>& memory) {
  memory.resize(b.numel());
  const MatrixLayout layout = LayoutOf(b);
  const int along = layout.transposed ? 0 : 1, across = 1 - along;
  ParallelForRange(b.shape[across], 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Convert(b, i * layout.ld, b.shape[along], memory.data() + i * b.shape[along]);
    }
  });
  View out = b;
  out.data = memory.data();
  out.dtype = DTypeOf<T>::value;
  out.stride[along] = 1;
  out.stride[across] = b.shape[along];
  return out;
}

// B in 16 bits: converted in blocks that bound the copy, each used at once by all tiles.
template <typename T>
void ProductOf16Bit(const View& a, const View& b, const View& c, const GemmOptions& options) {
  constexpr int64_t kMaxRows = 2048, kMaxElements = int64_t{1} << 21;
  static thread_local std::vector<T> memory;
  const int64_t k_block = std::clamp<int64_t>(a.shape[1], 1, kMaxRows);
  const int64_t n_block = std::max<int64_t>(48, kMaxElements / k_block / 48 * 48);
  for (int64_t n = 0; n < c.shape[1]; n += n_block) {
    const int64_t n_end = std::min(n + n_block, c.shape[1]);
    GemmOptions of_block = {options.alpha, options.beta, BiasOf(options, n, n_end)};
    for (int64_t k = 0; k == 0 || k < a.shape[1]; k += k_block) {
      const int64_t k_end = std::min(k + k_block, a.shape[1]);
      Product<T>(a.Slice(1, k, k_end), Converted(b.Slice(0, k, k_end).Slice(1, n, n_end), memory),
                 c.Slice(1, n, n_end), of_block);
      of_block = {.alpha = options.alpha, .beta = 1};
    }
  }
}

}  // namespace

void Gemm(const Stream& stream, const View& a, const View& b, const View& c,
          const GemmOptions& options) {
  DispatchFloat(a.dtype, [&](auto zero) {
    using T = decltype(zero);
    if (b.dtype == DTypeOf<T>::value) {
      Product<T>(a, b, c, options);
    } else {
      ProductOf16Bit<T>(a, b, c, options);
    }
  });
}

}  // namespace lockstep::kernels::cpu
