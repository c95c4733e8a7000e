#include "tensor/kernels/gemm.h"
#include "tensor/kernels/glu_lora.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(GluLoraCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  const Stream cpu = CpuContext().stream, gpu = GpuContext()->stream;
  constexpr DType kType = DType::kBF16;
  struct Case {
    int64_t rows, width, r_gate, r_up, r_dy;
  };
  for (const Case& c : {Case{1, 32, 16, 16, 16},
                        {17, 96, 8, 2, 0},
                        {130, 256, 16, 32, 64},
                        {200, 1536, 0, 40, 16}}) {
    const Tensor x = Random(kType, {c.rows, 2 * c.width}, 1),
                 dy = Random(kType, {c.rows, c.width}, 2);
    const Tensor h = Random(kType, {c.rows, c.r_gate + c.r_up}, 3, 0.3);
    const Tensor g = Random(kType, {c.rows, c.r_dy}, 4, 0.3);
    const Tensor b_gate = Random(kType, {c.width, c.r_gate}, 5, 0.5);
    const Tensor b_up = Random(kType, {c.width, c.r_up}, 6, 0.5);
    const Tensor a = Random(kType, {c.r_dy, c.width}, 7, 0.5);
    const auto shares = [&](const auto& convert, auto run) {
      const Tensor h_ = convert(h), g_ = convert(g), gate_ = convert(b_gate), up_ = convert(b_up),
                   a_ = convert(a);
      LoraShare gate, up, of_dy;
      if (c.r_gate > 0) gate = {h_.Slice(1, 0, c.r_gate), gate_, 0.75};
      if (c.r_up > 0) up = {h_.Slice(1, c.r_gate, c.r_gate + c.r_up), up_, 2};
      if (c.r_dy > 0) of_dy = {g_, Transposed(a_), 1};
      run(gate, up, of_dy);
    };
    for (const GluActivation activation : {GluActivation::kSilu, GluActivation::kGeluTanh}) {
      const Tensor x32 = As(DType::kF32, x), dy32 = As(DType::kF32, dy);
      const Tensor y32 = As(DType::kF32, dy);
      shares([](const Tensor& t) { return As(DType::kF32, t); },
             [&](const LoraShare& gate, const LoraShare& up, const LoraShare& of_dy) {
               GluLora(cpu, x32, gate, up, activation, y32);
               GluLoraBackward(cpu, dy32, of_dy, x32, gate, up, activation);
             });
      const GpuGuarded y(kType, {c.rows, c.width});
      const Tensor gpu_x = ToGpu(x), gpu_dy = ToGpu(dy);
      shares([](const Tensor& t) { return ToGpu(t); },
             [&](const LoraShare& gate, const LoraShare& up, const LoraShare& of_dy) {
               GluLora(gpu, gpu_x, gate, up, activation, y);
               GluLoraBackward(gpu, gpu_dy, of_dy, gpu_x, gate, up, activation);
             });
      ExpectMatches(y.tensor(), y32, 1.0 / 128);
      ExpectMatches(gpu_dy, y32, 1.0 / 128);
      ExpectMatches(gpu_x, x32, 1.0 / 128);
    }
  }
}

}  // namespace
}  // namespace lockstep::kernels
