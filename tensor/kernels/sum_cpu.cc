#include "tensor/kernels/sum.h"

namespace lockstep::kernels::cpu {

void Sum(const Stream& stream, const View& x, double scale, const View& y) {
  double sum = 0;
  for (int64_t i = 0; i < x.numel(); ++i) sum += x.as<double>()[i];
  y.as<double>()[0] = scale * sum;
}

}  // namespace lockstep::kernels::cpu
