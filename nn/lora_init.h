// First values of LoRA's matrices and magnitudes (LoraInit in lora.h).
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "nn/decoder_weights.h"
#include "nn/flat_parameters.h"
#include "nn/lora.h"
#include "nn/modules.h"
#include "tensor/context.h"

namespace lockstep::nn {

// A and B by the seed and their names, or with PiSSA from the base weights, which then lose that
// part; a DoRA magnitude is the norm of its row of W + s·B·A. Error: a row of zeros, by whose norm
// DoRA would divide.
absl::Status InitializeLora(const Context& context, const LoraConfig& lora, uint64_t seed,
                            const ModelModules& modules, const DecoderWeights& weights,
                            FlatParameters& parameters);

}  // namespace lockstep::nn
