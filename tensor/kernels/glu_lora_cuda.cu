#include <algorithm>

#include "tensor/kernels/device/glu_lora_backward.cuh"
#include "tensor/kernels/device/glu_lora_forward.cuh"
#include "tensor/kernels/device/glu_lora_general.cuh"
#include "tensor/kernels/device/partial_sums.cuh"
#include "tensor/kernels/glu_lora_parts.h"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)
using panel::PanelShape;

// By steps of 16 ranks. Registers are what limits backward: none may spill (three do with a mask).
template <int kSteps>
using ForwardShape = PanelShape<8, 3, kSteps, kSteps == 1 ? 2 : 1>;
template <int kSteps>
using BackwardShape = PanelShape<kSteps == 1 ? 16 : 8, 2, kSteps, 1>;

// What one pass takes of a share, b [F, r] or [r, F] having neighbors in its rows; and as results.
// What is not asked for fits.
bool Fits(const View& h, const View& b) {
  return h.rank == 0 ||
         (h.shape[1] % 8 == 0 && h.shape[1] <= 32 && HasBf16Rows(h) && HasBf16Rows(b));
}
bool Fits(const LoraShare& share) { return Fits(share.h, share.b); }
bool FitsTransposed(const View& h, const View& b) { return h.rank == 0 || Fits(h, Transposed(b)); }
bool Fits(const View& to, DType dtype) { return to.rank == 0 || TakesPartialSums(to, dtype); }
bool Fits(const LoraShareGradient& gradient) {
  return Fits(gradient.dh, DType::kBF16) && Fits(gradient.db, DType::kF32);
}

int64_t RankOf(const View& h) { return h.rank == 0 ? 0 : h.shape[1]; }

panel::PanelShare ShareOf(const View& h, const View& b, double scale) {
  if (b.rank == 0) return {};
  return {h.as<bf16>(),
          b.as<bf16>(),
          h.stride[0],
          b.stride[0],
          static_cast<int>(RankOf(h)),
          static_cast<float>(scale)};
}
panel::PanelShare ShareOf(const LoraShare& share) { return ShareOf(share.h, share.b, share.scale); }

panel::PanelMask MaskOf(const DropoutMask& mask) {
  if (mask.empty()) return {};
  return {mask.bits.as<uint8_t>(), static_cast<uint32_t>(mask.bits.stride[0])};
}

// Calls body with the activation, and whether there is a mask, as compile-time values.
template <typename Body>
void DispatchVariant(GluActivation activation, const DropoutMask& mask, const Body& body) {
  DispatchActivation(activation, [&](auto act) {
    if (mask.empty()) {
      body(act, std::false_type());
    } else {
      body(act, std::true_type());
    }
  });
}

dim3 BlocksOf(const GluLoraCut& cut) {
  return dim3(static_cast<unsigned>(cut.strips), static_cast<unsigned>(cut.panels));
}

template <int kSteps>
bool Forward(const Stream& stream, const View& x, const LoraShare& gate, const LoraShare& up,
             GluActivation activation, const DropoutMask& mask, const View& y,
             const LoraFactor& next, float* scratch) {
  using Shape = ForwardShape<kSteps>;
  constexpr int kBytes = panel::PanelMemory<Shape, 2>::kBytes;
  if (!SharedMemoryFits(kBytes)) return false;
  const int64_t rows = y.shape[0], width = y.shape[1];
  const GluLoraCut cut = CutForward(rows, width, Shape::kRank);
  const View down = next.h.rank == 0 ? View{} : Transposed(next.b);
  const panel::ForwardArguments arguments = {
      x.as<bf16>(), y.as<bf16>(), ShareOf(gate), ShareOf(up), ShareOf(next.h, down, 1),
      scratch,      MaskOf(mask), rows,          width,       cut.panel_rows};
  DispatchVariant(activation, mask, [&](auto act, auto dropped) {
    StartKernel(panel::PanelForward<Shape, act(), dropped()>,
                {BlocksOf(cut), Shape::kThreads, kBytes}, stream, arguments);
  });
  PartialSumList sums;
  sums.Add({scratch, cut.strips, rows * Shape::kRank, Shape::kRank}, next.h, mask.scale());
  AddPartialSums(stream, sums);
  return true;
}

template <int kSteps>
bool Backward(const Stream& stream, const View& dy, const LoraShare& of_dy, const View& x,
              const LoraShare& gate, const LoraShare& up, GluActivation activation,
              const DropoutMask& mask, const GluLoraGradients& gradients, float* scratch) {
  using Shape = BackwardShape<kSteps>;
  constexpr int kBytes = panel::PanelMemory<Shape, 3>::kBytes;
  if (!SharedMemoryFits(kBytes)) return false;
  const int64_t rows = dy.shape[0], width = dy.shape[1];
  const GluLoraCut cut = CutBackward(rows, width, Shape::kRank);
  const View down = of_dy.empty() ? View{} : Transposed(of_dy.b);
  float* const column_sums = scratch;
  float* const row_sums = scratch + cut.strips * rows * 2 * Shape::kRank;
  const panel::BackwardArguments arguments = {x.as<bf16>(),
                                              dy.as<bf16>(),
                                              ShareOf(gate),
                                              ShareOf(up),
                                              ShareOf(of_dy.h, down, mask.scale()),
                                              column_sums,
                                              row_sums,
                                              MaskOf(mask),
                                              rows,
                                              width,
                                              cut.panel_rows};
  DispatchVariant(activation, mask, [&](auto act, auto dropped) {
    StartKernel(panel::PanelBackward<Shape, act(), dropped()>,
                {BlocksOf(cut), Shape::kThreads, kBytes}, stream, arguments);
  });

  PartialSumList sums;
  const int64_t matrix = width * Shape::kRank;
  const auto row_sums_of = [&](int64_t i, int64_t row) {
    return Partials{row_sums + i * matrix, cut.panels, 3 * matrix, row};
  };
  const auto half = [&](int64_t i, const LoraShare& share, const LoraShareGradient& to) {
    sums.Add(row_sums_of(i, Shape::kRank), to.db, share.scale, to.accumulate);
    sums.Add(
        {column_sums + i * Shape::kRank, cut.strips, rows * 2 * Shape::kRank, 2 * Shape::kRank},
        to.dh, share.scale);
  };
  half(0, gate, gradients.gate);
  half(1, up, gradients.up);
  if (gradients.dy_db.rank != 0) {
    sums.Add(row_sums_of(2, width), Transposed(gradients.dy_db), mask.scale(),
             gradients.accumulate_dy_db);
  }
  AddPartialSums(stream, sums);
  return true;
}

}  // namespace

void GluLora(const Stream& stream, const View& x, const LoraShare& gate, const LoraShare& up,
             GluActivation activation, const DropoutMask& mask, const View& y,
             const LoraFactor& next, const View& scratch) {
  if (y.numel() == 0) return;
  general::CheckWide(x, y.shape[1]);
  const int64_t rank = std::max({RankOf(gate.h), RankOf(up.h), RankOf(next.h)});
  const bool fits = rank > 0 && rank <= 32 && Fits(gate) && Fits(up) &&
                    FitsTransposed(next.h, next.b) && Fits(next.h, DType::kBF16);
  if (fits && (rank <= 16 ? Forward<1> : Forward<2>)(stream, x, gate, up, activation, mask, y, next,
                                                     scratch.as<float>())) {
    return;
  }
  general::Forward(stream, x, gate, up, activation, y);
  MultiplyNext(stream, y, mask, next);
}

void GluLoraBackward(const Stream& stream, const View& dy, const LoraShare& of_dy, const View& x,
                     const LoraShare& gate, const LoraShare& up, GluActivation activation,
                     const DropoutMask& mask, const GluLoraGradients& gradients,
                     const View& scratch) {
  if (dy.numel() == 0) return;
  general::CheckWide(x, dy.shape[1]);
  const int64_t rank = std::max({RankOf(gate.h), RankOf(up.h), RankOf(of_dy.h)});
  const View dy_db = gradients.dy_db.rank == 0 ? View{} : Transposed(gradients.dy_db);
  const bool fits = rank > 0 && rank <= 32 && Fits(gate) && Fits(up) &&
                    FitsTransposed(of_dy.h, of_dy.b) && Fits(gradients.gate) &&
                    Fits(gradients.up) && Fits(dy_db, DType::kF32);
  if (fits && (rank <= 16 ? Backward<1> : Backward<2>)(stream, dy, of_dy, x, gate, up, activation,
                                                       mask, gradients, scratch.as<float>())) {
    return;
  }
  if (!mask.empty()) AddDropped(stream, of_dy, mask, dy);
  general::Backward(stream, dy, mask.empty() ? of_dy : LoraShare{}, x, gate, up, activation);
  MultiplyGradients(stream, x, dy, gate, up, of_dy, mask, gradients, scratch);
}

}  // namespace lockstep::kernels::cuda
