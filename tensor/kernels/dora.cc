#include "tensor/kernels/dora.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {
namespace {

// x [T, N] and what there is of each of its columns.
void CheckColumns(const char* op, const View& x, const View& m, const View& norm) {
  CHECK(x.rank == 2 && (x.stride[1] == 1 || x.shape[1] <= 1))
      << "[" << op << "] x: want contiguous rows, got " << Describe(x);
  for (const View* column : {&m, &norm}) {
    CHECK_SHAPE(op, column == &m ? "m" : "norm", *column, x.shape[1]);
    CHECK_DTYPE(op, column == &m ? "m" : "norm", *column, AccumulateType(x.dtype));
    CHECK(column->contiguous()) << "[" << op << "] want contiguous columns' values";
  }
}

void CheckLike(const char* op, const char* name, const View& y, const View& x) {
  CHECK_SHAPE(op, name, y, x.shape[0], x.shape[1]);
  CHECK_DTYPE(op, name, y, x.dtype);
  CHECK(y.stride[1] == 1 || y.shape[1] <= 1)
      << "[" << op << "] " << name << ": want contiguous rows";
}

}  // namespace

void DoraNorm(const Stream& stream, const View& w, const View& a, const View& b, double scale,
              const View& norm) {
  CHECK(w.rank == 2 && a.rank == 2 && b.rank == 2) << "[dora_norm] want matrices";
  CHECK_SHAPE("dora_norm", "a", a, a.shape[0], w.shape[1]);
  CHECK_SHAPE("dora_norm", "b", b, w.shape[0], a.shape[0]);
  CHECK_SHAPE("dora_norm", "norm", norm, w.shape[0]);
  CHECK(w.dtype == a.dtype || Is16Bit(w.dtype))
      << "[dora_norm] w: want " << NameOf(a.dtype) << ", bf16 or f16, got " << Describe(w);
  CHECK_DTYPE("dora_norm", "b", b, a.dtype);
  CHECK_DTYPE("dora_norm", "norm", norm, AccumulateType(a.dtype));
  CHECK((w.stride[1] == 1 && a.stride[1] == 1) || w.shape[1] <= 1)
      << "[dora_norm] want contiguous rows";
  CHECK(norm.contiguous() && (b.stride[1] == 1 || b.shape[1] <= 1))
      << "[dora_norm] want contiguous rows";
  LOCKSTEP_DISPATCH(stream, DoraNorm, w, a, b, scale, norm);
}

void DoraForward(const Stream& stream, const View& x, const View& m, const View& norm,
                 const View& bias, const View& y) {
  CheckColumns("dora_forward", x, m, norm);
  CheckLike("dora_forward", "y", y, x);
  if (bias.rank != 0) {
    CHECK_SHAPE("dora_forward", "bias", bias, x.shape[1]);
    CHECK(bias.contiguous() && (bias.dtype == m.dtype || Is16Bit(bias.dtype)))
        << "[dora_forward] bias: want " << NameOf(m.dtype) << ", bf16 or f16, got "
        << Describe(bias);
  }
  LOCKSTEP_DISPATCH(stream, DoraForward, x, m, norm, bias, y);
}

void DoraBackward(const Stream& stream, const View& dy, const View& x, const View& m,
                  const View& norm, const View& dx, bool accumulate, const View& dm) {
  CheckColumns("dora_backward", dy, m, norm);
  CheckLike("dora_backward", "x", x, dy);
  CheckLike("dora_backward", "dx", dx, dy);
  if (dm.rank != 0) {
    CHECK_SHAPE("dora_backward", "dm", dm, dy.shape[1]);
    CHECK_DTYPE("dora_backward", "dm", dm, m.dtype);
    CHECK(dm.contiguous()) << "[dora_backward] dm: want contiguous elements";
  }
  LOCKSTEP_DISPATCH(stream, DoraBackward, dy, x, m, norm, dx, accumulate, dm);
}

}  // namespace lockstep::kernels
