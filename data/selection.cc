#include "data/selection.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace lockstep::data {
namespace {

// Targets of [begin, end): supervised tokens but for the first, which nothing predicts. Of a whole
// document the cache has their number, so that its tokens need not be read.
uint32_t CountTargets(const Dataset& dataset, int64_t document, uint32_t begin, uint32_t end) {
  const absl::Span<const CachedToken> tokens = dataset.tokens(document);
  if (begin == 0 && end == tokens.size()) {
    return dataset.document(document).num_supervised;
  }
  uint32_t count = 0;
  for (uint32_t i = begin + 1; i < end; ++i) count += tokens[i].supervised();
  return count;
}

// Adds the pieces of one document.
void Cut(const Dataset& dataset, int64_t document, uint32_t limit, LongDocuments policy,
         Selection& selection) {
  const uint32_t length = dataset.document(document).num_tokens;
  const bool too_long = length > limit;
  if (too_long && policy == LongDocuments::kDrop) {
    ++selection.num_dropped;
    selection.tokens_lost += length;
    return;
  }
  if (too_long && policy == LongDocuments::kTruncate) {
    ++selection.num_truncated;
    selection.tokens_lost += length - limit;
  }
  if (too_long && policy == LongDocuments::kSplit) ++selection.num_split;
  const uint32_t end = too_long && policy == LongDocuments::kTruncate ? limit : length;
  for (uint32_t begin = 0; begin < end; begin += limit) {
    const Piece piece = {document, begin, std::min(end, begin + limit),
                         CountTargets(dataset, document, begin, std::min(end, begin + limit))};
    if (piece.num_supervised == 0) {
      ++selection.num_unsupervised;
    } else {
      selection.pieces.push_back(piece);
    }
  }
}

}  // namespace

absl::StatusOr<Selection> SelectPieces(const Dataset& dataset, const LengthPolicy& policy,
                                       const std::vector<int64_t>* documents) {
  const uint32_t limit = static_cast<uint32_t>(policy.max_seq_length);
  Selection selection;
  selection.max_seq_length = limit;
  selection.pieces.reserve(documents != nullptr ? documents->size() : dataset.num_documents());
  int64_t refused = -1;  // the first document that is
  dataset.ForEach(documents, [&](int64_t document) {
    const DocumentInfo& info = dataset.document(document);
    ++selection.num_documents;
    if (selection.longest_document < 0 ||
        info.num_tokens > dataset.document(selection.longest_document).num_tokens) {
      selection.longest_document = document;
    }
    const bool too_long = info.num_tokens > limit;
    if (too_long && policy.long_documents == LongDocuments::kRefuse && refused < 0) {
      refused = document;
    }
    Cut(dataset, document, limit, policy.long_documents, selection);
  });
  if (refused >= 0) {
    return UserError(
        dataset.Position(refused),
        absl::StrCat("want at most ", limit, " tokens, got ", dataset.document(refused).num_tokens),
        "raise --max_seq_length (at most the model's), or choose --long_documents=truncate, split "
        "or drop");
  }
  if (selection.pieces.empty()) {
    return UserError(
        dataset.files().empty() ? "data" : dataset.files()[0],
        absl::StrCat("want documents with supervised tokens, got none of ", selection.num_documents,
                     ": ", selection.num_dropped, " dropped as too long, ",
                     selection.num_unsupervised, " without a supervised token"),
        selection.num_documents == 0 ? "--validation_split holds out all that there are"
                                     : "see --loss_on and --max_seq_length");
  }
  return selection;
}

Split SplitByContent(const Dataset& dataset, double validation_share) {
  const int64_t count = dataset.num_documents();
  std::vector<int64_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    const uint64_t x = dataset.document(a).content_hash, y = dataset.document(b).content_hash;
    return x != y ? x < y : a < b;
  });
  int64_t held_out = static_cast<int64_t>(std::ceil(validation_share * static_cast<double>(count)));
  while (held_out > 0 && held_out < count &&
         dataset.document(order[held_out]).content_hash ==
             dataset.document(order[held_out - 1]).content_hash) {
    ++held_out;  // duplicates stay together
  }
  Split split;
  split.validation.assign(order.begin(), order.begin() + held_out);
  split.train.assign(order.begin() + held_out, order.end());
  std::sort(split.validation.begin(), split.validation.end());
  std::sort(split.train.begin(), split.train.end());
  return split;
}

}  // namespace lockstep::data
