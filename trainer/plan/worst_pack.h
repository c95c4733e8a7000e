// The most that any pack of a run has of every kind, as far as memory goes: what the memory plan is
// made for. It need not be one pack's.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "data/piece.h"
#include "data/step_plan.h"
#include "trainer/plan/training_data.h"

namespace lockstep {

// What attention's workspace depends on, of nn::ForwardOptions.
struct AttentionChoice {
  bool layer = false;  // Checkpointing::kLayer
  int64_t score_bytes = 0;
  friend auto operator<=>(const AttentionChoice&, const AttentionChoice&) = default;
};
// The bytes of that workspace for documents that begin at `starts`, where the last of them is the
// end.
using AttentionBytesFn =
    absl::FunctionRef<int64_t(absl::Span<const int32_t> starts, const AttentionChoice& choice)>;

// Of scores' gradients, if memory is left over for long documents.
inline constexpr int64_t kScoreBytes[] = {0, int64_t{4} << 30, int64_t{8} << 30, int64_t{16} << 30};

// The documents whose attention wants most.
struct WorstDocuments {
  std::vector<int32_t> starts = {0};
  int64_t bytes = 0;
};

struct PackSize {
  int64_t tokens = 0, supervised = 0, documents = 0;
  std::map<AttentionChoice, WorstDocuments> worst = {};  // of every choice
  int64_t all_tokens = 0, squares = 0;                   // of all packs: Σ length, Σ length²
};

// Over these packs.
PackSize WorstPack(absl::Span<const data::Piece> pieces, absl::Span<const data::PackPlan> packs,
                   AttentionBytesFn bytes);
// Over those of the training's first `num_steps` steps; of more than 20,000, the limits of the
// plan.
PackSize WorstOfSteps(const TrainingData& data, int64_t num_steps, AttentionBytesFn bytes);

// The same mixture of documents, longest first, in `tokens` tokens.
PackSize Scaled(const PackSize& size, int64_t tokens);

// {0, lengths[0], lengths[0] + lengths[1], …}
std::vector<int32_t> StartsOfDocuments(absl::Span<const int64_t> lengths);

}  // namespace lockstep
