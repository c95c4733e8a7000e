#include <algorithm>
#include <cstring>

#include "base/thread_pool.h"
#include "tensor/half.h"
#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/embedding.h"

namespace lockstep::kernels::cpu {
namespace {

constexpr int64_t kRowsOfATask = 16, kColumnsOfATask = 64;

int64_t RowOf(const char* op, const View& ids, int64_t t, const View& table) {
  const int64_t row = ids.as<int32_t>()[t];
  CHECK(row >= 0 && row < table.shape[0])
      << "[" << op << "] ids[" << t << "]: want one of " << table.shape[0] << " rows, got " << row;
  return row;
}

const char* RowAddress(const View& x, int64_t row) {
  return x.as<char>() + row * x.stride[0] * static_cast<int64_t>(SizeOf(x.dtype));
}

template <typename T>
void ScaleRow(const View& table, int64_t row, T scale, T* y) {
  const char* x = RowAddress(table, row);
  for (int64_t c = 0; c < table.shape[1]; ++c) {
    switch (table.dtype) {
      case DType::kBF16:
        y[c] = scale * Bf16ToFloat(reinterpret_cast<const uint16_t*>(x)[c]);
        break;
      case DType::kF16:
        y[c] = scale * F16ToFloat(reinterpret_cast<const uint16_t*>(x)[c]);
        break;
      default:
        CHECK_DTYPE("embedding", "table", table, DTypeOf<T>::value);
        y[c] = scale * reinterpret_cast<const T*>(x)[c];
    }
  }
}

}  // namespace

void Embedding(const Stream& stream, const View& ids, const View& table, double scale,
               const View& y) {
  const bool copy = scale == 1 && table.dtype == y.dtype;
  ParallelForRange(y.shape[0], kRowsOfATask, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t row = RowOf("embedding", ids, t, table);
      if (copy) {
        std::memcpy(const_cast<char*>(RowAddress(y, t)), RowAddress(table, row),
                    y.shape[1] * SizeOf(y.dtype));
        continue;
      }
      DispatchFloat(y.dtype, [&](auto zero) {
        using T = decltype(zero);
        ScaleRow(table, row, static_cast<T>(scale), y.as<T>() + t * y.stride[0]);
      });
    }
  });
}

// A task owns columns, so that rows with several tokens need no locks.
void EmbeddingBackward(const Stream& stream, const View& ids, const View& dy, double scale,
                       bool accumulate, const View& dtable) {
  DispatchFloat(dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    ParallelForRange(dtable.shape[1], kColumnsOfATask, [&](int64_t begin, int64_t end) {
      const auto columns = [&](const View& x, int64_t row) {
        return x.as<T>() + row * x.stride[0] + begin;
      };
      for (int64_t v = 0; !accumulate && v < dtable.shape[0]; ++v) {
        std::fill_n(columns(dtable, v), end - begin, T{0});
      }
      for (int64_t t = 0; t < dy.shape[0]; ++t) {
        T* out = columns(dtable, RowOf("embedding_backward", ids, t, dtable));
        const T* in = columns(dy, t);
        for (int64_t c = 0; c < end - begin; ++c) out[c] += static_cast<T>(scale) * in[c];
      }
    });
  });
}

}  // namespace lockstep::kernels::cpu
