#include "nn/weight_source.h"

#include "absl/strings/match.h"
#include "nn/host_tensor.h"
#include "nn/random.h"
#include "tensor/kernels/cast.h"
#include "tensor/kernels/fill.h"

namespace lockstep::nn {

void Assign(const Context& context, const std::vector<float>& values, const Tensor& destination) {
  const Tensor staged = FromHost<float>(context, values);
  const Tensor flat = destination.Reshape({destination.numel()});
  kernels::Cast(context.stream, staged, flat.Mutable("assign"));
}

absl::Status RandomWeights::Fill(const Context& context, const std::string& name,
                                 const Tensor& destination) const {
  if (context.device().type == DeviceType::kMeta) return absl::OkStatus();
  if (absl::EndsWith(name, "norm.weight")) {
    kernels::Fill(context.stream, destination.Mutable("init"), norm_);
  } else if (absl::EndsWith(name, ".bias")) {
    kernels::Fill(context.stream, destination.Mutable("init"), 0.0);
  } else {
    Assign(context, NormalValues(seed_, name, destination.numel(), deviation_), destination);
  }
  return absl::OkStatus();
}

}  // namespace lockstep::nn
