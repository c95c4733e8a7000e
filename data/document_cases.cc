#include "data/document_cases.h"

#include <algorithm>
#include <functional>

#include "absl/container/flat_hash_set.h"

namespace lockstep::data {
namespace {

class Examiner {
 public:
  explicit Examiner(const DoctorInput& input)
      : input_(input), stop_tokens_(input.stop_tokens.begin(), input.stop_tokens.end()) {}

  void Look(int64_t index) {
    const DocumentInfo& info = input_.dataset->document(index);
    const absl::Span<const CachedToken> tokens = input_.dataset->tokens(index);
    if (tokens.size() <= 1) cases_.empty.Add(index);
    if (info.num_supervised == 0) cases_.unsupervised.Add(index, tokens.size());
    if (!seen_.insert(info.content_hash).second) cases_.duplicate.Add(index, tokens.size());
    LookAtNotes(index, info.notes);
    LookAtTokens(index, tokens);
    LookAtLength(index, info, tokens);
  }

  // After all of training's documents.
  void LookForOverlap() {
    if (input_.validation == nullptr) return;
    for (int64_t i = 0; i < input_.validation->num_documents(); ++i) {
      if (seen_.contains(input_.validation->document(i).content_hash)) cases_.overlap.Add(i);
    }
  }

  const DocumentCases& cases() const { return cases_; }

 private:
  void LookAtNotes(int64_t index, uint32_t notes) {
    for (; notes != 0; notes &= notes - 1) cases_.noted[std::countr_zero(notes)].Add(index);
  }

  void LookAtTokens(int64_t index, absl::Span<const CachedToken> tokens) {
    int64_t outside = 0, untrained = 0;
    bool teaches_stop = false;
    for (size_t i = 0; i < tokens.size(); ++i) {
      const int32_t id = tokens[i].id();
      cases_.largest_id = std::max(cases_.largest_id, id);
      outside += input_.vocab_size > 0 && id >= input_.vocab_size;
      if (!stop_tokens_.contains(id)) continue;
      teaches_stop |= tokens[i].supervised();
      untrained += i > 0 && !tokens[i].supervised() && tokens[i - 1].supervised() &&
                   !stop_tokens_.contains(tokens[i - 1].id());
    }
    if (outside > 0) cases_.outside_vocabulary.Add(index, outside);
    if (untrained > 0) cases_.untrained_stop.Add(index, untrained);
    cases_.teach_stop += teaches_stop;
    if (input_.bos && tokens.size() > 1 && tokens[0].id() == *input_.bos &&
        tokens[1].id() == *input_.bos) {
      cases_.double_bos.Add(index);
    }
  }

  void LookAtLength(int64_t index, const DocumentInfo& info, absl::Span<const CachedToken> tokens) {
    const int64_t limit = input_.length.max_seq_length;
    const int64_t surplus = static_cast<int64_t>(tokens.size()) - limit;
    if (surplus <= 0) return;
    cases_.too_long.Add(index, surplus);
    if (input_.length.long_documents == LongDocuments::kSplit) return;
    const bool dropped = input_.length.long_documents == LongDocuments::kDrop;
    cases_.tokens_lost += dropped ? static_cast<int64_t>(tokens.size()) : surplus;
    if (input_.length.long_documents != LongDocuments::kTruncate || info.num_supervised == 0)
      return;
    const bool some_left = std::any_of(tokens.begin() + 1, tokens.begin() + limit,
                                       [](CachedToken token) { return token.supervised(); });
    if (!some_left) cases_.cut_off.Add(index, surplus);
  }

  const DoctorInput& input_;
  const absl::flat_hash_set<int32_t> stop_tokens_;
  absl::flat_hash_set<uint64_t> seen_;
  DocumentCases cases_;
};

}  // namespace

void Cases::Add(int64_t document, int64_t badness) {
  ++count_;
  // A heap with the least bad on top; of equals the earlier document is worse.
  worst_.emplace_back(badness, -document);
  std::push_heap(worst_.begin(), worst_.end(), std::greater<>());
  if (worst_.size() <= kMaxExamples) return;
  std::pop_heap(worst_.begin(), worst_.end(), std::greater<>());
  worst_.pop_back();
}

std::vector<int64_t> Cases::Worst() const {
  std::vector<std::pair<int64_t, int64_t>> sorted = worst_;
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  std::vector<int64_t> documents;
  for (const auto& [badness, document] : sorted) documents.push_back(-document);
  return documents;
}

DocumentCases LookAtDocuments(const DoctorInput& input) {
  Examiner examiner(input);
  input.dataset->ForEach(nullptr, [&](int64_t i) { examiner.Look(i); });
  examiner.LookForOverlap();
  return examiner.cases();
}

}  // namespace lockstep::data
