#include <algorithm>
#include <cstring>

#include "base/thread_pool.h"
#include "tensor/kernels/cpu/convert.h"
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

}  // namespace

void Embedding(const Stream& stream, const View& ids, const View& table, double scale,
               const View& y) {
  const bool copy = scale == 1 && table.dtype == y.dtype;
  if (!Is16Bit(table.dtype)) CHECK_DTYPE("embedding", "table", table, y.dtype);
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
        T* const out = y.as<T>() + t * y.stride[0];
        Convert(table, row * table.stride[0], table.shape[1], out);
        for (int64_t c = 0; c < table.shape[1]; ++c) out[c] *= static_cast<T>(scale);
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
