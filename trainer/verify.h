// --verify: a proof on the user's own data that the number of ranks changes nothing.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "dist/communicator.h"
#include "nn/model.h"
#include "tensor/context.h"
#include "trainer/plan/training_data.h"
#include "trainer/step/data_parallel.h"

namespace lockstep {

// Computes the first step's gradient by all ranks together, then once more on every rank by itself,
// and compares all bits of the sums, those of the loss included. Changes no parameter. Returns what
// to tell the user; an error, the same on all ranks, if a bit differs.
absl::StatusOr<std::string> VerifyLockstep(const Context& context,
                                           const nn::ForwardOptions& forward,
                                           const ReductionOptions& reduction,
                                           const TrainingData& data,
                                           dist::Communicator* communicator, nn::Model* model);

}  // namespace lockstep
