#include "trainer/checkpoint/parameter_copy.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/check.h"
#include "base/status.h"

namespace lockstep {
namespace {

// Of FlatParameters::state(), in its order.
constexpr const char* kStoredPrefixes[] = {"values.", "exp_avg.", "exp_avg_sq."};
// On the way from the device while the one before it is written.
constexpr size_t kPieceBytes = size_t{8} << 20;

}  // namespace

std::vector<StatePart> PartsOfState(const nn::FlatParameters& parameters) {
  std::vector<StatePart> parts;
  for (int buffer = 0; buffer < static_cast<int>(std::size(kStoredPrefixes)); ++buffer) {
    for (int i = 0; i < parameters.num_parameters(); ++i) {
      parts.push_back({kStoredPrefixes[buffer] + parameters.parameters()[i].spec.name, buffer, i});
    }
  }
  return parts;
}

ParameterCopy::ParameterCopy(const Context& context, const nn::FlatParameters& parameters,
                             const Tensor& memory)
    : context_(context),
      parameters_(parameters),
      state_(parameters.state()),
      memory_(memory),
      copied_(Event::Create(context.device())) {
  if (!on_device()) return;
  CHECK(memory.dtype() == state_[0].dtype());
  CHECK_EQ(memory.dim(0), static_cast<int64_t>(state_.size()));
  CHECK_EQ(memory.dim(1), parameters.numel());
}

void ParameterCopy::Reserve() {
  const auto add = [&](size_t bytes) {
    in_host_.push_back(HostCopy::Create(context_.device(), bytes));
  };
  if (on_device()) {
    add(kPieceBytes);
    add(kPieceBytes);
  } else {
    for (const Tensor& buffer : state_) add(buffer.view().num_bytes());
  }
}

void ParameterCopy::Begin() {
  for (size_t i = 0; i < state_.size(); ++i) {
    if (on_device()) {
      CopyQueued(context_.stream, state_[i], memory_.Slice(0, i, i + 1).Mutable("checkpoint"));
    } else {
      in_host_[i]->Begin(context_.stream, state_[i]);
    }
  }
  copied_->Record(context_.stream);
}

absl::Status ParameterCopy::Read(const StatePart& part, TakeFn take) {
  copied_->Wait();
  const nn::Parameter& parameter = parameters_.parameters()[part.parameter];
  const size_t size = SizeOf(state_[part.buffer].dtype());
  const size_t begin = parameter.offset * size, bytes = parameter.numel * size;
  if (!on_device()) return take({in_host_[part.buffer]->data() + begin, bytes});
  const View buffer = memory_.Slice(0, part.buffer, part.buffer + 1);
  // One piece is on its way while the one before it is taken.
  const auto piece = [&](size_t at) {
    const size_t end = std::min(at + kPieceBytes, bytes);
    return MakeView(buffer.as<char>() + begin + at, DType::kU8, buffer.device,
                    {static_cast<int64_t>(end - at)});
  };
  HostCopy *coming = in_host_[0].get(), *here = in_host_[1].get();
  coming->BeginBeside(piece(0));
  for (size_t at = 0; at < bytes; at += kPieceBytes) {
    std::swap(coming, here);
    here->Wait();
    if (at + kPieceBytes < bytes) coming->BeginBeside(piece(at + kPieceBytes));
    const absl::Status taken = take({here->data(), piece(at).num_bytes()});
    coming->Wait();  // or it would go on without its caller
    RETURN_IF_ERROR(taken);
  }
  return absl::OkStatus();
}

}  // namespace lockstep
