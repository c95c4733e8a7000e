#include "tensor/kernels/attention_head_sums.h"

#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels::cuda {
namespace {

struct Case {
  int64_t rows, begin, end, heads, copies, dim;
};

std::vector<Case> Cases() {
  return AndDrawn<Case>({{1, 0, 1, 1, 1, 8}, {70, 3, 64, 2, 4, 64}, {40, 0, 40, 1, 8, 128}},
                        [](Draw& draw) {
                          const int64_t rows = draw.Size(200), begin = draw.Size(rows) - 1;
                          return Case{rows,         begin,        begin + draw.Size(rows - begin),
                                      draw.Size(4), draw.Size(4), 8 * draw.Size(16)};
                        });
}

Tensor Pieces(int64_t rows, int64_t heads, int64_t dim, uint32_t seed) {
  return Random(DType::kBF16, {rows, heads, dim}, seed);
}

// Element (r, h, d) of the values of a [T, heads, dim].
double At(const std::vector<double>& x, const Case& c, int64_t heads, int64_t r, int64_t h,
          int64_t d) {
  return x[(r * heads + h) * c.dim + d];
}

TEST(AttentionHeadSumsCudaTest, CopiesKeyHeads) {
  SKIP_WITHOUT_GPU();
  for (const Case& c : Cases()) {
    SCOPED_TRACE(testing::Message() << c.rows << " rows, " << c.heads << "x" << c.copies);
    const int64_t all = c.heads * c.copies;
    const Tensor k = Pieces(c.rows, c.heads, c.dim, 1), v = Pieces(c.rows, c.heads, c.dim, 2),
                 before = Pieces(c.rows, all, c.dim, 3);
    const Tensor gpu_k = ToGpu(k), gpu_v = ToGpu(v);
    const GpuGuarded to_k(DType::kBF16, {c.rows, all, c.dim}),
        to_v(DType::kBF16, {c.rows, all, c.dim});
    for (const GpuGuarded* to : {&to_k, &to_v}) {
      CopyToDevice(GpuContext()->stream, before.view().data, to->tensor());
    }
    CopyHeads(GpuContext()->stream, {c.begin, c.end}, {gpu_k, gpu_v}, {to_k, to_v});
    for (const auto& [from, to] : {std::pair{&k, &to_k}, {&v, &to_v}}) {
      const std::vector<double> source = ToVector(*from);
      std::vector<double> want = ToVector(before);
      for (int64_t r = c.begin; r < c.end; ++r) {
        for (int64_t h = 0; h < all; ++h) {
          for (int64_t d = 0; d < c.dim; ++d) {
            want[(r * all + h) * c.dim + d] = At(source, c, c.heads, r, h / c.copies, d);
          }
        }
      }
      EXPECT_EQ(ToVector(ToCpu(to->tensor())), want);
    }
  }
}

// However many copies come at a time, they are added in f32, in their order, and rounded once.
TEST(AttentionHeadSumsCudaTest, AddsUpCopies) {
  SKIP_WITHOUT_GPU();
  for (Case c : Cases()) {
    SCOPED_TRACE(testing::Message() << c.rows << " rows, " << c.heads << "x" << c.copies);
    c.heads = 1;
    const std::vector<Tensor> dk = {Pieces(c.rows, c.copies, c.dim, 1),
                                    Pieces(c.rows, c.copies, c.dim, 2)};
    const Tensor dv = Pieces(c.rows, c.copies, c.dim, 3), before = Pieces(c.rows, 1, c.dim, 4);
    const GpuGuarded out_k(DType::kBF16, {c.rows, 1, c.dim}),
        out_v(DType::kBF16, {c.rows, 1, c.dim}), sums(DType::kF32, {c.rows, 2 * c.dim});
    for (const GpuGuarded* to : {&out_k, &out_v}) {
      CopyToDevice(GpuContext()->stream, before.view().data, to->tensor());
    }
    const Tensor gpu_dv = ToGpu(dv);
    for (int part = 0; part < 2; ++part) {  // two launches
      const Tensor gpu_dk = ToGpu(dk[part]);
      AddHeads(GpuContext()->stream, {c.begin, c.end}, {gpu_dk, gpu_dv}, {part == 0, part == 1},
               sums.tensor().view().as<float>(), {out_k, out_v});
    }
    const std::vector<double> parts[] = {ToVector(dk[0]), ToVector(dk[1])};
    std::vector<double> want = ToVector(before);
    for (int64_t r = c.begin; r < c.end; ++r) {
      for (int64_t d = 0; d < c.dim; ++d) {
        float sum = 0;
        for (const std::vector<double>& values : parts) {
          for (int64_t h = 0; h < c.copies; ++h) {
            sum += static_cast<float>(At(values, c, c.copies, r, h, d));
          }
        }
        want[r * c.dim + d] = Bf16ToFloat(FloatToBf16(sum));
      }
    }
    EXPECT_EQ(ToVector(ToCpu(out_k.tensor())), want);
  }
}

}  // namespace
}  // namespace lockstep::kernels::cuda
