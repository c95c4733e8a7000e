// The mean loss over the whole validation set.
//
//   eval_loss = (sum of −log p over all supervised tokens) / (their number)
//
// Each document's sum is rounded to a multiple of 2⁻³⁰ and added as an integer, so the result does
// not depend on which rank had which document.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "data/dataset.h"
#include "data/pack.h"
#include "data/piece.h"
#include "data/step_plan.h"
#include "dist/communicator.h"
#include "nn/decoder.h"
#include "tensor/context.h"

namespace lockstep {

struct Evaluation {
  double loss = 0;
  int64_t supervised_tokens = 0;
};

// Of one sequence of a pack: the sum of −log p over its supervised tokens.
struct SequenceLoss {
  int64_t document = 0;
  double nll = 0;
  int64_t supervised_tokens = 0;
};
std::vector<SequenceLoss> SequenceLosses(const Context& context, const nn::Decoder& decoder,
                                         const data::Pack& pack);

// All ranks call it; packs are dealt to them by cost. `on_pack` is called before each pack of this
// rank. Before each of them the ranks ask each other whether `stop_requested` is true on one: then
// all end together, without a result.
std::optional<Evaluation> Evaluate(const Context& context, const nn::Decoder& decoder,
                                   const data::Dataset& dataset,
                                   absl::Span<const data::Piece> pieces,
                                   absl::Span<const data::PackPlan> packs,
                                   dist::Communicator& communicator,
                                   absl::FunctionRef<void(int64_t pack)> on_pack,
                                   absl::FunctionRef<bool()> stop_requested);

}  // namespace lockstep
