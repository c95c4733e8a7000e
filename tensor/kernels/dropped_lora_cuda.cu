#include "tensor/kernels/device/dropped_inputs.cuh"
#include "tensor/kernels/device/narrow_rows.cuh"
#include "tensor/kernels/dropped_lora.h"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

int64_t StepsOf(const DroppedPart& part) { return (part.h.shape[1] + 15) / 16; }

// Calls body with neighboring parts [begin, end) that one launch takes, and their steps of 16
// ranks as a compile-time value.
template <typename Body>
void ForEachLaunch(const std::vector<DroppedPart>& parts, const Body& body) {
  for (size_t begin = 0, end = 0; begin < parts.size(); begin = end) {
    int64_t steps = 0;
    while (end < parts.size() && steps + StepsOf(parts[end]) <= 4) steps += StepsOf(parts[end++]);
    DispatchExactSteps(steps, [&](auto exact) { body(begin, end, exact); });
  }
}

void CheckTakes(const View& x, const std::vector<DroppedPart>& parts) {
  for (const DroppedPart& part : parts) {
    if (!DroppedLoraTakes(x.dtype, x.shape[1], part.h.shape[1]) || !HasBf16Rows(x) ||
        !HasBf16Rows(part.h)) {
      Unsupported("dropped_lora of this rank or alignment", x);
    }
  }
}

dropped::Arguments ArgumentsOf(const View& x, const std::vector<DroppedPart>& parts, size_t begin,
                               size_t end) {
  dropped::Arguments arguments = {};
  arguments.x = x.as<bf16>();
  arguments.x_row = x.stride[0];
  arguments.bits_row = parts[begin].mask.bits.stride[0];
  arguments.rows = x.shape[0];
  arguments.width = x.shape[1];
  arguments.scale = static_cast<float>(parts[begin].mask.scale());
  int s = 0;
  for (size_t i = begin; i < end; ++i) {
    const DroppedPart& part = parts[i];
    if (!HasBf16Rows(part.a)) Unsupported("dropped_lora with A of this alignment", part.a);
    for (int64_t rank = 0; rank < part.h.shape[1]; rank += 16) {
      arguments.step[s++] = {part.a.as<bf16>() + rank * part.a.stride[0],
                             part.h.as<bf16>() + rank,
                             part.mask.bits.as<uint8_t>(),
                             part.a.stride[0],
                             part.h.stride[0],
                             static_cast<int>(std::min<int64_t>(part.h.shape[1] - rank, 16))};
    }
  }
  return arguments;
}

}  // namespace

void DroppedInputs(const Stream& stream, const View& x, const std::vector<DroppedPart>& parts) {
  CheckTakes(x, parts);
  ForEachLaunch(parts, [&](size_t begin, size_t end, auto steps) {
    using Shape = dropped::InputsShape<steps()>;
    StartKernel(dropped::DroppedInputsKernel<Shape>,
                {Blocks(x.shape[0], Shape::kRows), Shape::kThreads, Shape::kBytes}, stream,
                ArgumentsOf(x, parts, begin, end));
  });
}

void DroppedShares(const Stream& stream, const std::vector<DroppedPart>& parts, bool accumulate,
                   const View& dx) {
  CheckTakes(dx, parts);
  ForEachLaunch(parts, [&](size_t begin, size_t end, auto steps) {
    dropped::Arguments arguments = ArgumentsOf(dx, parts, begin, end);
    arguments.accumulate = accumulate || begin > 0;
    using Shape = dropped::SharesShape<steps()>;
    const dim3 blocks(Blocks(dx.shape[0], Shape::kRows), Blocks(dx.shape[1], Shape::kColumns));
    StartKernel(dropped::DroppedSharesKernel<Shape>, {blocks, Shape::kThreads, Shape::kBytes},
                stream, arguments);
  });
}

void DroppedGradients(const Stream& stream, const NormedMatrix& x,
                      const std::vector<DroppedPart>& parts, const View& scratch) {
  const int64_t rows = x.x.shape[0], width = x.x.shape[1];
  std::vector<DroppedPart> wanted;
  for (const DroppedPart& part : parts) {
    if (part.da.rank == 0) continue;
    if (!TakesPartialSums(part.da, DType::kF32)) Unsupported("dropped_lora's dA", part.da);
    wanted.push_back(part);
  }
  CheckTakes(x.x, wanted);
  ForEachLaunch(wanted, [&](size_t begin, size_t end, auto steps) {
    constexpr int64_t kRank = 16 * steps();
    const NarrowCut cut(rows, NarrowCut::Strips(width, kRank), kRank);
    narrow::Arguments arguments = narrow::RowSumsOf(x, cut, scratch.as<float>());
    arguments.bits_row = wanted[begin].mask.bits.stride[0];
    PartialSumList sums;
    int s = 0;
    for (size_t i = begin; i < end; ++i) {
      const DroppedPart& part = wanted[i];
      sums.Add(narrow::PanelsOf(arguments, cut, 16 * s), part.da, part.mask.scale(),
               part.accumulate);
      for (int64_t rank = 0; rank < part.h.shape[1]; rank += 16) {
        arguments.step[s++] = {part.h.as<bf16>() + rank, part.mask.bits.as<uint8_t>(),
                               part.h.stride[0],
                               static_cast<int>(std::min<int64_t>(part.h.shape[1] - rank, 16))};
      }
    }
    narrow::Launch<narrow::Shape<steps(), narrow::Kind::kDropped>>(stream, cut, arguments);
    AddPartialSums(stream, sums);
  });
}

}  // namespace lockstep::kernels::cuda
