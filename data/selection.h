// Which pieces of a data set a run trains on: length limits, and the validation split.
//
//   const Split split = SplitByContent(*dataset, 0.05);
//   ASSIGN_OR_RETURN(const Selection train, SelectPieces(*dataset, policy, &split.train));
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "data/dataset.h"
#include "data/piece.h"

namespace lockstep::data {

enum class LongDocuments { kTruncate, kSplit, kDrop, kRefuse };

struct LengthPolicy {
  int64_t max_seq_length = 2048;
  LongDocuments long_documents = LongDocuments::kTruncate;
};

struct Selection {
  std::vector<Piece> pieces;  // in document order
  // For the table before training.
  int64_t max_seq_length = 0;
  int64_t num_documents = 0;  // that were looked at
  int64_t num_truncated = 0, num_split = 0, num_dropped = 0;
  int64_t num_unsupervised = 0;   // pieces that left because nothing in them is supervised
  int64_t tokens_lost = 0;        // by truncating and dropping
  int64_t longest_document = -1;  // index; -1 if there is none
};

// The pieces of `documents` (all of the data set if null) under `policy`. Error: a document over
// the length under kRefuse, by its line; nothing left to train on.
absl::StatusOr<Selection> SelectPieces(const Dataset& dataset, const LengthPolicy& policy,
                                       const std::vector<int64_t>* documents = nullptr);

// Holds out the ⌈share·N⌉ documents with the smallest content hash; duplicates stay together.
// Depends on content alone: not on order, seed or number of ranks.
struct Split {
  std::vector<int64_t> train, validation;
};
Split SplitByContent(const Dataset& dataset, double validation_share);

}  // namespace lockstep::data
