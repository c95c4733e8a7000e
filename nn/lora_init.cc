#include "nn/lora_init.h"

#include <cmath>
#include <vector>

#include "absl/strings/match.h"
#include "base/thread_pool.h"
#include "nn/host_tensor.h"
#include "nn/random.h"
#include "nn/weight_source.h"
#include "tensor/kernels/cast.h"
#include "tensor/kernels/fill.h"

namespace lockstep::nn {
namespace {

std::vector<float> ToFloats(const Context& context, const Tensor& tensor) {
  const Tensor floats = Tensor::Empty(*context.allocator, DType::kF32,
                                      absl::MakeConstSpan(tensor.view().shape, tensor.rank()));
  kernels::Cast(context.stream, tensor, floats.Mutable("to_floats"));
  return ToHost<float>(context, floats);
}

void InitializeMatrices(const Context& context, const LoraConfig& lora, uint64_t seed,
                        FlatParameters& parameters) {
  for (int i = 0; i < parameters.num_parameters(); ++i) {
    const Parameter& parameter = parameters.parameters()[i];
    const std::string& name = parameter.spec.name;
    const bool is_a = absl::EndsWith(name, ".lora_A.weight");
    const bool is_b = absl::EndsWith(name, ".lora_B.weight");
    if (!is_a && !is_b) continue;
    // Both are [out, in] matrices: U(±1/sqrt(in)) is torch's default for linear layers.
    const double inputs = static_cast<double>(parameter.spec.shape[1]);
    const double r = static_cast<double>(parameter.spec.shape[0]);  // of an A
    const Tensor part = parameters.Part(parameters.values(), i);
    if (is_a && lora.init == LoraInit::kGaussian) {
      Assign(context, NormalValues(seed, name, parameter.numel, 1 / r), part);
    } else if (is_a || lora.init == LoraInit::kFalse) {
      Assign(context, UniformValues(seed, name, parameter.numel, 1 / std::sqrt(inputs)), part);
    } else {
      kernels::Fill(context.stream, part.Mutable("init"), 0.0);
    }
  }
}

// ‖W + s·B·A‖ of each row of one module.
std::vector<float> RowNorms(const std::vector<float>& w, const std::vector<float>& b,
                            const std::vector<float>& a, int64_t rows, double scale) {
  const int64_t width = static_cast<int64_t>(w.size()) / rows;
  const int64_t r = static_cast<int64_t>(b.size()) / rows;
  std::vector<float> norms(rows);
  ParallelFor(rows, [&](int64_t row) {
    double sum = 0;
    for (int64_t c = 0; c < width; ++c) {
      double value = w[row * width + c];
      for (int64_t k = 0; k < r; ++k) value += scale * b[row * r + k] * a[k * width + c];
      sum += value * value;
    }
    norms[row] = static_cast<float>(std::sqrt(sum));
  });
  return norms;
}

void InitializeMagnitudes(const Context& context, const MergedLinear& module,
                          const LinearWeights& linear, FlatParameters& parameters) {
  int64_t row = 0;
  for (const LinearModule& part : module.parts) {
    for (const autograd::LoraAdapter& adapter : linear.adapters) {
      if (adapter.first != row) continue;
      const int index = parameters.IndexOf(part.path + ".lora_magnitude_vector");
      const std::vector<float> norms =
          RowNorms(ToFloats(context, linear.weight.value().Slice(0, row, row + part.out)),
                   ToFloats(context, adapter.b.value()), ToFloats(context, adapter.a.value()),
                   part.out, adapter.scale);
      Assign(context, norms, parameters.Part(parameters.values(), index));
    }
    row += part.out;
  }
}

}  // namespace

void InitializeLora(const Context& context, const LoraConfig& lora, uint64_t seed,
                    const ModelModules& modules, const DecoderWeights& weights,
                    FlatParameters& parameters) {
  if (context.device().type == DeviceType::kMeta) return;
  InitializeMatrices(context, lora, seed, parameters);
  parameters.RefreshImage(context);
  if (!lora.use_dora) return;
  for (size_t i = 0; i < modules.layers.size(); ++i) {
    const LayerModules& module = modules.layers[i];
    const LayerWeights& layer = weights.layers[i];
    InitializeMagnitudes(context, module.qkv, layer.qkv, parameters);
    InitializeMagnitudes(context, module.o, layer.o, parameters);
    InitializeMagnitudes(context, module.gate_up, layer.gate_up, parameters);
    InitializeMagnitudes(context, module.down, layer.down, parameters);
  }
  parameters.RefreshImage(context);
}

}  // namespace lockstep::nn
