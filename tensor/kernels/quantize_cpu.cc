#include <algorithm>
#include <cmath>

#include "base/thread_pool.h"
#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/e4m3.h"
#include "tensor/kernels/quantize.h"

namespace lockstep::kernels::cpu {

void QuantizeRows(const Stream&, const View& x, const View& factors, const ScaledRows& to) {
  CHECK_DTYPE("quantize", "x", x, DType::kF32);
  const int64_t width = x.shape[1];
  const float* factor = factors.rank != 0 ? factors.as<float>() : nullptr;
  ParallelFor(x.shape[0], [&](int64_t t) {
    const float* row = x.as<float>() + t * x.stride[0];
    const auto value = [&](int64_t c) { return factor != nullptr ? row[c] * factor[c] : row[c]; };
    float largest = 0;  // NaN counts as nothing here
    for (int64_t c = 0; c < width; ++c) {
      if (std::abs(value(c)) > largest) largest = std::abs(value(c));
    }
    const float scale = std::max(largest, kLeastMagnitude) / kLargestE4m3;
    const float inverse = 1 / scale;
    uint8_t* codes = to.codes.as<uint8_t>() + t * width;
    for (int64_t c = 0; c < width; ++c) codes[c] = FloatToE4m3(value(c) * inverse);
    to.scales.as<float>()[t] = scale;
  });
}

void TransposeCodes(const Stream&, const View& codes, const View& to) {
  const int64_t rows = codes.shape[0], columns = codes.shape[1];
  ParallelFor(columns, [&](int64_t c) {
    for (int64_t t = 0; t < rows; ++t) {
      to.as<uint8_t>()[c * rows + t] = codes.as<uint8_t>()[t * columns + c];
    }
  });
}

}  // namespace lockstep::kernels::cpu
