#include "nn/save_model.h"

#include <map>
#include <vector>

#include "absl/strings/match.h"
#include "base/check.h"
#include "base/file.h"
#include "base/status.h"
#include "nn/safetensors.h"
#include "tensor/kernels/cast.h"
#include "tensor/runtime.h"

namespace lockstep::nn {
namespace {

DType SavedDType(const ModelConfig& config) {
  if (config.stored_dtype == "bfloat16") return DType::kBF16;
  if (config.stored_dtype == "float16") return DType::kF16;
  return DType::kF32;
}

// The values of every stored tensor, as views into the flat parameters.
std::map<std::string, Tensor> StoredParts(const ModelModules& modules,
                                          const FlatParameters& parameters) {
  std::map<std::string, Tensor> out;
  const auto part = [&](const std::string& name) {
    const int index = parameters.IndexOf(name);
    return index < 0 ? Tensor() : parameters.Part(parameters.values(), index);
  };
  const auto add_merged = [&](const MergedLinear& linear, const char* suffix) {
    const Tensor whole = part(linear.path + suffix);
    int64_t row = 0;
    for (const LinearModule& module : linear.parts) {
      if (whole.defined()) out[module.path + suffix] = whole.Slice(0, row, row + module.out);
      row += module.out;
    }
  };
  for (const LayerModules& layer : modules.layers) {
    for (const MergedLinear* linear : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) {
      add_merged(*linear, ".weight");
      add_merged(*linear, ".bias");
    }
  }
  for (int i = 0; i < parameters.num_parameters(); ++i) {
    const std::string& name = parameters.parameters()[i].spec.name;
    out.try_emplace(name, part(name));
  }
  // Merged names that are no module's own.
  for (const LayerModules& layer : modules.layers) {
    for (const MergedLinear* linear : {&layer.qkv, &layer.gate_up}) {
      if (linear->parts.size() == 1) continue;
      out.erase(linear->path + ".weight");
      out.erase(linear->path + ".bias");
    }
  }
  return out;
}

// The tensors that the config says are left alone, by transformers 5's names:
// "model.vision_tower.…"
std::map<std::string, const WeightFiles::Entry*> ForeignTensors(const WeightFiles& base,
                                                                const ModelConfig& config) {
  std::map<std::string, const WeightFiles::Entry*> out;
  for (const auto& [name, entry] : base.entries()) {
    for (const std::string& prefix : config.foreign_prefixes) {
      if (!absl::StartsWith(name, prefix) || !DTypeOfStored(entry.tensor->dtype)) continue;
      out[absl::StartsWith(name, "model.") ? name : "model." + name] = &entry;
    }
  }
  return out;
}

}  // namespace

absl::Status SaveParametersAsModel(const Context& context, const ModelConfig& config,
                                   const ModelModules& modules, const FlatParameters& parameters,
                                   const WeightFiles* base, const std::string& directory) {
  const DType dtype = SavedDType(config);
  const std::map<std::string, Tensor> parts = StoredParts(modules, parameters);
  SafetensorsWriter writer(JoinPath(directory, "model.safetensors"));
  for (const WeightSpec& spec : WeightsOf(config, modules)) {
    CHECK(parts.count(spec.name)) << spec.name;
    writer.Declare(spec.name, dtype, spec.shape);
  }
  std::map<std::string, const WeightFiles::Entry*> foreign;
  if (base != nullptr) foreign = ForeignTensors(*base, config);
  for (const auto& [name, entry] : foreign) {
    writer.Declare(name, *DTypeOfStored(entry->tensor->dtype), entry->tensor->shape);
  }
  RETURN_IF_ERROR(writer.Begin({{"format", "pt"}}));
  for (const StoredTensor& tensor : writer.tensors()) {
    if (const auto it = foreign.find(tensor.name); it != foreign.end()) {
      const auto& [file, stored] = *it->second;
      RETURN_IF_ERROR(
          writer.Append({reinterpret_cast<const char*>(file->data(*stored)), stored->bytes}));
      continue;
    }
    const Tensor& values = parts.at(tensor.name);
    const Tensor staged = Tensor::Empty(*context.allocator, dtype, tensor.shape);
    kernels::Cast(context.stream, values.Reshape(tensor.shape), staged.Mutable("save"));
    std::vector<char> bytes(tensor.bytes);
    CopyToHost(context.stream, staged, bytes.data());
    RETURN_IF_ERROR(writer.Append({bytes.data(), bytes.size()}));
  }
  return writer.Finish();
}

}  // namespace lockstep::nn
