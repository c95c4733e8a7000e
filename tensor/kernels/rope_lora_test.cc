#include "tensor/kernels/rope_lora.h"

#include "tensor/kernels/gemm.h"
#include "tensor/kernels/rope.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

// The share by a product, then the rotation, one after the other; v's heads stay in place.
void ExpectBoth(DType dtype, double tolerance) {
  constexpr int64_t kRows = 5, kDim = 6, kPairs = 2;
  const Tensor x = Random(dtype, {kRows, 4, kDim}, 1), table = Random(dtype, {kRows, kPairs, 2}, 2),
               h = Random(dtype, {kRows, 5}, 3), b_q = Random(dtype, {2 * kDim, 2}, 4),
               b_v = Random(dtype, {kDim, 3}, 5);
  const LoraShare q = {h.Slice(1, 0, 2), b_q, 0.5}, v = {h.Slice(1, 2, 5), b_v, 2};
  const Tensor want = As(dtype, x);
  const Tensor flat = want.Reshape({kRows, 4 * kDim});
  Gemm(CpuContext().stream, q.h, Transposed(q.b), flat.view().Slice(1, 0, 2 * kDim),
       {.alpha = q.scale, .beta = 1});
  Gemm(CpuContext().stream, v.h, Transposed(v.b), flat.view().Slice(1, 3 * kDim, 4 * kDim),
       {.alpha = v.scale, .beta = 1});
  Rope(CpuContext().stream, want.view().Slice(1, 0, 3), table, 1);
  const Guarded got(dtype, {kRows, 4, kDim});
  std::memcpy(got.tensor().view().data, x.view().data, x.view().num_bytes());
  RopeLora(CpuContext().stream, got, {{2, q}, {1, {}}, {1, v}}, 3, table);
  ExpectNear(got, want, tolerance, tolerance);
}

TEST(RopeLoraTest, SharesThenRotation) {
  ExpectBoth(DType::kF64, 1e-14);
  ExpectBoth(DType::kF32, 1e-5);
}

}  // namespace
}  // namespace lockstep::kernels
