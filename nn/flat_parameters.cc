#include "nn/flat_parameters.h"

#include <utility>

#include "base/check.h"
#include "tensor/kernels/accumulate.h"
#include "tensor/kernels/cast.h"
#include "tensor/kernels/fill.h"
#include "tensor/kernels/fixed_point.h"

namespace lockstep::nn {
namespace {

// 256 bytes of the narrowest type whose products want alignment, bf16: 512 bytes of f32.
constexpr int64_t kAlign = 128;

int64_t AlignElements(int64_t n) { return (n + kAlign - 1) / kAlign * kAlign; }

}  // namespace

std::vector<Parameter> PlanFlatLayout(std::vector<ParameterSpec> specs) {
  std::vector<Parameter> parameters;
  int64_t offset = 0;
  for (ParameterSpec& spec : specs) {
    Parameter parameter;
    parameter.numel = 1;
    for (const int64_t d : spec.shape) parameter.numel *= d;
    parameter.offset = offset;
    parameter.spec = std::move(spec);
    offset = AlignElements(offset + parameter.numel);
    parameters.push_back(std::move(parameter));
  }
  return parameters;
}

FlatParameters::FlatParameters(const Context& context, std::vector<ParameterSpec> specs,
                               const Options& options)
    : parameters_(PlanFlatLayout(std::move(specs))), options_(options) {
  if (!parameters_.empty()) {
    numel_ = AlignElements(parameters_.back().offset + parameters_.back().numel);
  }
  const auto zeros = [&](DType dtype, int64_t n) {
    Tensor tensor = Tensor::Empty(*context.allocator, dtype, {n});
    kernels::Fill(context.stream, tensor.Mutable("flat_parameters"), 0.0);
    return tensor;
  };
  values_ = zeros(options_.dtype, numel_);
  image_ = options_.image_dtype == options_.dtype ? values_ : zeros(options_.image_dtype, numel_);
  if (options_.training) {
    scratch_ = zeros(options_.dtype, numel_);
    sums_ = zeros(options_.sum_dtype, numel_ + options_.num_slots);
    exp_avg_ = zeros(options_.dtype, numel_);
    exp_avg_sq_ = zeros(options_.dtype, numel_);
  }
  for (int i = 0; i < num_parameters(); ++i) {
    const ParameterSpec& spec = parameters_[i].spec;
    CHECK(index_.emplace(spec.name, i).second) << "two parameters of the name " << spec.name;
    const Tensor value = Part(spec.full_precision ? values_ : image_, i);
    leaves_.push_back(options_.training
                          ? autograd::Variable::Leaf(spec.name, value, Part(scratch_, i))
                          : autograd::Variable::Frozen(value));
  }
}

int64_t FlatParameters::num_trainable() const {
  int64_t sum = 0;
  for (const Parameter& parameter : parameters_) sum += parameter.numel;
  return sum;
}

int FlatParameters::IndexOf(absl::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? -1 : it->second;
}

Tensor FlatParameters::Part(const Tensor& buffer, int index) const {
  const Parameter& parameter = parameters_[index];
  return buffer.Slice(0, parameter.offset, parameter.offset + parameter.numel)
      .Reshape(parameter.spec.shape);
}

void FlatParameters::ZeroSums(const Context& context, int64_t begin, int64_t end) {
  kernels::Fill(context.stream, sums_.Slice(0, begin, end).Mutable("zero_sums"), 0.0);
}

void FlatParameters::AddToSums(const Context& context, int first, int end, int64_t packs_in_step,
                               int overflow_slot) {
  const int64_t begin = parameters_[first].offset;
  const int64_t stop = parameters_[end - 1].offset + parameters_[end - 1].numel;
  const View gradient = scratch_.view().Slice(0, begin, stop);
  const View sums = sums_.Mutable("add_to_sums");
  if (options_.sum_dtype == DType::kI64) {
    const int64_t slot = numel_ + overflow_slot;
    kernels::AddFixedPoint(context.stream, gradient, kernels::kGradientFractionBits, packs_in_step,
                           sums.Slice(0, begin, stop), sums.Slice(0, slot, slot + 1));
  } else {
    kernels::Accumulate(context.stream, gradient, sums.Slice(0, begin, stop));
  }
}

void FlatParameters::Await(int first) const {
  if (await_) await_(parameters_[first].offset);
}

void FlatParameters::RefreshImage(const Context& context) {
  if (image_.SharesMemoryWith(values_)) return;
  kernels::Cast(context.stream, values_, image_.Mutable("refresh_image"));
}

}  // namespace lockstep::nn
