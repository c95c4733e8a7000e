// One step's gradient: forward and backward of this rank's packs, summed over the ranks.
#pragma once

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "data/loader.h"
#include "nn/decoder.h"
#include "tensor/context.h"
#include "trainer/step/data_parallel.h"

namespace lockstep {

// Adds one pack's share of the gradient to the sums of `parallel`'s parameters: that of its sum of
// losses / `num_supervised` (of the whole step).
void PackGradient(const Context& context, const nn::Decoder& decoder, const data::Pack& pack,
                  int64_t num_supervised, const nn::ForwardOptions& forward, bool last,
                  DataParallel* parallel, absl::FunctionRef<void(const char* phase)> report);

// Leaves the gradient of the mean loss over the supervised tokens of all ranks' packs in the sums
// of `parallel`'s parameters, queued, not awaited. `report` is told the phase and the pack, for the
// heartbeat.
void StepGradient(const Context& context, const nn::Decoder& decoder, const data::RankStep& work,
                  const nn::ForwardOptions& forward, bool stop_requested, DataParallel* parallel,
                  absl::FunctionRef<void(const char* phase, int64_t pack)> report);

}  // namespace lockstep
