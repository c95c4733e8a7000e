#include "nn/lora_init.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "nn/host_tensor.h"
#include "nn/pissa.h"
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
    const Tensor part = parameters.Part(parameters.values(), i);
    // As torch's embeddings: zero, and normal.
    const bool is_embedding_b = absl::EndsWith(name, ".lora_embedding_B");
    if (is_embedding_b || absl::EndsWith(name, ".lora_embedding_A")) {
      if (is_embedding_b || lora.init == LoraInit::kFalse) {
        Assign(context, NormalValues(seed, name, parameter.numel, 1), part);
      } else {
        kernels::Fill(context.stream, part.Mutable("init"), 0.0);
      }
      continue;
    }
    const bool is_a = absl::EndsWith(name, ".lora_A.weight");
    const bool is_b = absl::EndsWith(name, ".lora_B.weight");
    if (!is_a && !is_b) continue;
    // Both are [out, in] matrices: U(±1/sqrt(in)) is torch's default for linear layers.
    const double inputs = static_cast<double>(parameter.spec.shape[1]);
    const double r = static_cast<double>(parameter.spec.shape[0]);  // of an A
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

// What one adapter is about: its module and the rows that it has in the merged matrix.
struct Target {
  const LinearModule& module;
  const autograd::LoraAdapter& adapter;
  Tensor rows;
};

template <typename Body>
void ForEachTarget(const MergedLinear& merged, const LinearWeights& linear, const Body& body) {
  int64_t row = 0;
  for (const LinearModule& module : merged.parts) {
    for (const autograd::LoraAdapter& adapter : linear.adapters) {
      if (adapter.first != row) continue;
      body(Target{module, adapter, linear.weight.value().Slice(0, row, row + module.out)});
    }
    row += module.out;
  }
}

template <typename Body>
void ForEachTarget(const ModelModules& modules, const DecoderWeights& weights, const Body& body) {
  for (size_t i = 0; i < modules.layers.size(); ++i) {
    const LayerModules& module = modules.layers[i];
    const LayerWeights& layer = weights.layers[i];
    ForEachTarget(module.qkv, layer.qkv, body);
    ForEachTarget(module.o, layer.o, body);
    ForEachTarget(module.gate_up, layer.gate_up, body);
    ForEachTarget(module.down, layer.down, body);
  }
  ForEachTarget({modules.head.path, {modules.head}}, weights.head, body);
}

absl::Status InitializeMagnitude(const Context& context, const Target& target,
                                 FlatParameters& parameters) {
  const std::vector<float> norms = RowNorms(
      ToFloats(context, target.rows), ToFloats(context, target.adapter.b.value()),
      ToFloats(context, target.adapter.a.value()), target.module.out, target.adapter.scale);
  const auto zero = std::find(norms.begin(), norms.end(), 0.0F);
  if (zero != norms.end()) {
    return UserError("--use_dora",
                     absl::StrCat("want rows with a direction, got zeros in row ",
                                  zero - norms.begin(), " of ", target.module.path),
                     "leave that module out of --lora_target_modules, or use LoRA without DoRA");
  }
  const int index = parameters.IndexOf(target.module.path + ".lora_magnitude_vector");
  Assign(context, norms, parameters.Part(parameters.values(), index));
  return absl::OkStatus();
}

// A and B take W's principal part, and W keeps the rest.
void InitializePissa(const Context& context, const Target& target, FlatParameters& parameters) {
  const int64_t rows = target.module.out, columns = target.module.in;
  const int64_t r = target.adapter.a.value().dim(0);
  std::vector<float> w = ToFloats(context, target.rows);
  const PissaFactors factors = PissaOf(w, rows, columns, r, target.adapter.scale);
  const std::string& path = target.module.path;
  const auto assign = [&](const std::vector<float>& values, const char* name) {
    const int index = parameters.IndexOf(path + name);
    Assign(context, values, parameters.Part(parameters.values(), index));
  };
  assign(factors.a, ".lora_A.weight");
  assign(factors.b, ".lora_B.weight");
  ParallelFor(rows, [&](int64_t i) {
    for (int64_t j = 0; j < columns; ++j) {
      double principal = 0;
      for (int64_t k = 0; k < r; ++k)
        principal += factors.b[i * r + k] * factors.a[k * columns + j];
      w[i * columns + j] -= static_cast<float>(target.adapter.scale * principal);
    }
  });
  Assign(context, w, target.rows);
}

}  // namespace

absl::Status InitializeLora(const Context& context, const LoraConfig& lora, uint64_t seed,
                            const ModelModules& modules, const DecoderWeights& weights,
                            FlatParameters& parameters) {
  if (context.device().type == DeviceType::kMeta) return absl::OkStatus();
  InitializeMatrices(context, lora, seed, parameters);
  parameters.RefreshImage(context);
  if (lora.init == LoraInit::kPissa) {
    ForEachTarget(modules, weights,
                  [&](const Target& target) { InitializePissa(context, target, parameters); });
    parameters.RefreshImage(context);
  }
  absl::Status status;
  if (lora.use_dora) {
    ForEachTarget(modules, weights, [&](const Target& target) {
      if (status.ok()) status = InitializeMagnitude(context, target, parameters);
    });
  }
  return status;
}

}  // namespace lockstep::nn
