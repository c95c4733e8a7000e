#include "base/thread_pool.h"
#include "tensor/kernels/cpu/math.h"
#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/rms_norm.h"

namespace lockstep::kernels::cpu {
namespace {

template <typename T>
T* Row(const View& view, int64_t row) {  // of [T, N, C], numbered through
  const int64_t heads = view.shape[1];
  return view.as<T>() + row / heads * view.stride[0] + row % heads * view.stride[1];
}

// The gain is w plus this.
template <typename T>
T Offset(NormForm form) {
  return form == NormForm::kGemma ? T{1} : T{0};
}

template <typename T>
void ScaleRow(const T* x, const View& w, T rstd, NormForm form, T* y) {
  const int64_t width = w.shape[0];
  const T *weight = w.as<T>(), offset = Offset<T>(form);
  for (int64_t c = 0; c < width; ++c) y[c] = (offset + weight[c]) * (x[c] * rstd);
}

template <typename T>
void NormRow(const T* x, const View& w, const RmsNormOptions& options, T* y, T* rstd) {
  const int64_t width = w.shape[0];
  const double mean =
      SumOf<double>(width, [=](int64_t c) { return static_cast<double>(x[c]) * x[c]; }) / width;
  const T scale = static_cast<T>(1.0 / std::sqrt(mean + options.eps));
  ScaleRow(x, w, scale, options.form, y);
  if (rstd != nullptr) *rstd = scale;
}

// dx, and the row's part of dw added to `dw_row` (null: not wanted).
template <typename T>
void BackwardRow(const T* dy, const T* x, const View& w, T rstd, NormForm form, const T* addend,
                 T* dx, T* dw_row) {
  const int64_t width = w.shape[0];
  const T *weight = w.as<T>(), offset = Offset<T>(form);
  const double sum = SumOf<double>(width, [&](int64_t c) {
    return static_cast<double>((offset + weight[c]) * dy[c]) * (x[c] * rstd);
  });
  const T mean = static_cast<T>(sum / width);
  if (dw_row != nullptr) {
    for (int64_t c = 0; c < width; ++c) dw_row[c] += dy[c] * (x[c] * rstd);
  }
  for (int64_t c = 0; c < width; ++c) {
    const T d = rstd * ((offset + weight[c]) * dy[c] - x[c] * rstd * mean);
    dx[c] = addend != nullptr ? addend[c] + d : d;
  }
}

template <typename T>
void BackwardRows(const View& dy, const View& x, const View& w, const View& rstd, NormForm form,
                  const View& addend, const View& dx, int64_t begin, int64_t end, T* dw_row) {
  for (int64_t row = begin; row < end; ++row) {
    BackwardRow(Row<T>(dy, row), Row<T>(x, row), w, rstd.as<T>()[row], form,
                addend.data == nullptr ? nullptr : Row<T>(addend, row), Row<T>(dx, row), dw_row);
  }
}

}  // namespace

void RmsNorm(const Stream& stream, const View& x, const View& w, const RmsNormOptions& options,
             const View& y, const View& rstd) {
  DispatchFloat(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    ParallelForRange(x.shape[0] * x.shape[1], 32, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        NormRow(Row<T>(x, row), w, options, Row<T>(y, row),
                rstd.data == nullptr ? nullptr : rstd.as<T>() + row);
      }
    });
  });
}

void RmsNormAgain(const Stream& stream, const View& x, const View& w, const View& rstd,
                  const RmsNormOptions& options, const View& y) {
  const int64_t width = x.shape[1];
  DispatchFloat(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    ParallelForRange(x.shape[0], 32, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        ScaleRow(x.as<T>() + row * width, w, rstd.as<T>()[row], options.form,
                 y.as<T>() + row * width);
      }
    });
  });
}

void RmsNormBackward(const Stream& stream, const View& dy, const View& x, const View& w,
                     const View& rstd, const RmsNormOptions& options, const View& addend,
                     const View& dx, const View& dw, bool accumulate, const View& partials) {
  const int64_t rows = x.shape[0] * x.shape[1], width = x.shape[2];
  const int64_t ranges = RmsNormPartials(rows, width);
  DispatchFloat(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    ParallelFor(ranges, [&](int64_t i) {
      T* dw_row = dw.data == nullptr ? nullptr : partials.as<T>() + i * width;
      if (dw_row != nullptr) std::fill_n(dw_row, width, T{0});
      BackwardRows(dy, x, w, rstd, options.form, addend, dx, i * rows / ranges,
                   (i + 1) * rows / ranges, dw_row);
    });
    if (dw.data == nullptr) return;
    for (int64_t c = 0; c < width; ++c) {
      double sum = accumulate ? dw.as<T>()[c] : 0.0;
      for (int64_t i = 0; i < ranges; ++i) sum += partials.as<T>()[i * width + c];
      dw.as<T>()[c] = static_cast<T>(sum);
    }
  });
}

}  // namespace lockstep::kernels::cpu
