// What is trained: names, shapes and order of the parameters.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nn/config.h"
#include "nn/flat_parameters.h"
#include "nn/lora.h"
#include "nn/modules.h"

namespace lockstep::nn {

struct Trainable {
  std::vector<ParameterSpec> specs;           // in the order in which backward makes them final
  std::map<std::string, LoraTarget> targets;  // by module path
  bool full = false;                          // every weight
  bool dora = false;                          // each target has a magnitude
};

// Paths of all linear layers, the head last.
std::vector<std::string> LinearPaths(const ModelModules& modules);

// All modules that can have an adapter: the linear layers and the embedding.
std::vector<std::string> AdapterPaths(const ModelModules& modules);

// LoRA: for each targeted module "<path>.lora_A.weight" [r, in] and "<path>.lora_B.weight" [out,
// r], with A of merged modules next to each other, with DoRA "<path>.lora_magnitude_vector" [out];
// of the embedding "<path>.lora_embedding_A" [r, V] and "<path>.lora_embedding_B" [C, r]; and
// "<path>.weight" of modules_to_save. Errors name what PEFT can and this cannot.
absl::StatusOr<Trainable> TrainableOf(const LoraConfig& lora, const ModelConfig& config,
                                      const ModelModules& modules);

// Every weight: merged matrices as one parameter, "<merged path>.weight" and ".bias".
Trainable AllTrainable(const ModelConfig& config, const ModelModules& modules);

}  // namespace lockstep::nn
