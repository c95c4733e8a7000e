// Measures training steps of LoRA on random weights and tokens: tokens a second, memory, and where
// the time goes on a GPU.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nn/decoder.h"
#include "nn/model.h"
#include "tensor/device.h"
#include "tensor/dtype.h"

namespace lockstep {

struct StepsOptions {
  Device device;
  DType dtype;                     // of computation, and of frozen weights but those in FP8
  bool fp8_linear = false;         // as in nn::ModelOptions
  std::string config_json;         // whose shape it is
  std::string name;                // of that shape, to be printed
  std::vector<std::string> packs;  // documents x tokens of each: "2x4096"
  int steps = 8, warmup = 2;       // measured, and before them
  int lora_r = 16;                 // on all linear layers
  double lora_dropout = 0;
  nn::Checkpointing checkpointing = nn::Checkpointing::kNone;
  std::string checkpointing_name;
  int64_t score_bytes = 0;     // as in nn::ForwardOptions
  bool keep_attention = true;  // where documents are long enough
  int top = 0;                 // kernels to list, of three more steps on a GPU; 0: no table
  int ceiling = 0;             // rounds in which the step and its ceiling take turns; 0: none
  bool repeat = true;          // also compute the gradient of one pack twice and compare the bits
};

// The model of such a step, and the type of its wide products, to be printed: "fp8" or `dtype`.
nn::ModelOptions ModelOf(const StepsOptions& options);
const char* TypeOf(const StepsOptions& options);

struct PackShape {
  int64_t documents = 0, length = 0;
};
// "2x4096". Errors: UserError.
absl::StatusOr<PackShape> ParsePack(const std::string& text);

// A line for each pack on standard output. Errors: UserError.
absl::Status BenchSteps(const StepsOptions& options);

}  // namespace lockstep
