// The step plan: which document goes through the model in which pack of which step.
//
// A pure function of the pieces' lengths and the options below. The number of ranks plays no part:
// a step has 8 packs or a multiple, so up to 8 ranks have equal work, and because gradients are
// summed exactly it does not matter which rank has which pack.
//
//   k = 8·⌈tokens / (8·tokens_per_pack)⌉ packs a step; if a pack would fall under 1,024 tokens, the
//   largest of 4, 2, 1 that does not let it. Pieces are dealt longest first to the pack with the
//   least cost so far that has room; cost(L) = L·(16384 + L): tokens, and the attention's square,
//   which weighs as much as everything else at some 16 thousand tokens.
//
// Order: epoch e is a pseudorandom permutation of the pieces keyed by (seed, e) that can be
// evaluated at any place, so seeking is O(1). A step never crosses an epoch; an epoch's last step
// takes what remains.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "data/piece.h"

namespace lockstep::data {

inline constexpr int64_t kMinTokensPerPack = 1024;

struct PlanOptions {
  int64_t global_batch_size = 16;  // documents (pieces) a step, over all ranks
  int64_t tokens_per_pack = 8192;  // at least the longest piece
  uint64_t seed = 42;
};

struct PackPlan {
  std::vector<int64_t> pieces;  // indices into the selection, longest first
  int64_t num_tokens = 0;
  int64_t num_supervised = 0;
  int64_t cost = 0;
};

struct StepPacks {
  int64_t epoch = 0;           // from 0
  int64_t num_supervised = 0;  // N of the loss: over all packs
  int64_t num_tokens = 0;
  std::vector<PackPlan> packs;
};

class StepPlan {
 public:
  // `pieces` must outlive the plan. CHECKs that tokens_per_pack covers the longest piece.
  StepPlan(absl::Span<const Piece> pieces, const PlanOptions& options);

  int64_t steps_per_epoch() const { return steps_per_epoch_; }
  // Step s, from 0: any number, the data repeating epoch after epoch.
  StepPacks Step(int64_t step) const;
  // The piece at `place` of epoch `epoch`.
  int64_t PieceAt(int64_t epoch, int64_t place) const;

  // What one epoch looks like, for the memory plan and for --dry_run.
  struct Summary {
    int64_t max_pack_tokens = 0, max_pack_supervised = 0, max_packs = 0, min_packs = 0;
    double mean_imbalance = 0;  // of packs: (most expensive / mean) − 1, averaged over steps
  };
  Summary Summarize() const;

  // 32 hexadecimal digits: equal plans on all ranks.
  std::string Hash() const;

 private:
  absl::Span<const Piece> pieces_;
  PlanOptions options_;
  int64_t steps_per_epoch_;
};

// The default of --tokens_per_pack: what the largest step needs in 8 packs, at least the longest
// piece, at most 8192 (or the longest piece if that is longer), a multiple of 64.
int64_t DefaultTokensPerPack(absl::Span<const Piece> pieces, int64_t global_batch_size);

// The smallest --global_batch_size with which a step of mean length has a pack for each of `ranks`;
// for more than 8 of them, with tokens_per_pack at most 8192.
int64_t BatchSizeForRanks(absl::Span<const Piece> pieces, int64_t ranks);

// Deals packs to ranks, most expensive first to the rank with the least so far: the packs of each
// rank. A pure function of the costs; free of consequences for any result.
std::vector<std::vector<int64_t>> DealPacks(absl::Span<const PackPlan> packs, int world_size);

// Packs for evaluation: all pieces, in order of length, filled up to tokens_per_pack.
std::vector<PackPlan> PlanEvaluation(absl::Span<const Piece> pieces, int64_t tokens_per_pack);

// Where the pack's documents begin and, last, where its tokens end: its cu_seqlens.
std::vector<int32_t> DocumentStarts(absl::Span<const Piece> pieces, const PackPlan& pack);

}  // namespace lockstep::data
