// Puts a decoder's weights together: frozen ones into memory of their own, trained ones into the
// flat parameters.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "nn/decoder_weights.h"
#include "nn/flat_parameters.h"
#include "nn/modules.h"
#include "nn/trainable.h"
#include "nn/weight_source.h"
#include "tensor/context.h"

namespace lockstep::nn {

struct AssembleOptions {
  DType compute_dtype = DType::kF32;  // of norms and biases
  DType base_dtype = DType::kF32;     // of frozen matrices
  bool fp8_linear = false;            // but of linear layers, which become FP8 (wide_matrix.h)
  uint64_t seed = 0;                  // of dropout
};

// Each part of a merged matrix is read straight into its rows. A weight that is a parameter goes to
// parameters.values(); the image is brought up to date at the end. In FP8 no weight of a linear
// layer is a parameter, and sizes are multiples of 16.
absl::StatusOr<DecoderWeights> Assemble(const Context& context, const ModelConfig& config,
                                        const ModelModules& modules, const Trainable& trainable,
                                        const WeightSource& source, FlatParameters& parameters,
                                        const AssembleOptions& options);

}  // namespace lockstep::nn
