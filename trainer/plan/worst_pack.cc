#include "trainer/plan/worst_pack.h"

#include <algorithm>
#include <functional>

namespace lockstep {
namespace {

// Steps that are looked at one by one; of a longer run's packs only the limit is known.
constexpr int64_t kMaxSteps = 20'000;

PackSize NoPack() {
  PackSize size;
  for (const bool layer : {false, true}) {
    for (const int64_t score_bytes : kScoreBytes) size.worst[{layer, score_bytes}] = {};
  }
  return size;
}

void Widen(absl::Span<const data::Piece> pieces, absl::Span<const data::PackPlan> packs,
           AttentionBytesFn attention_bytes, PackSize* size) {
  for (const data::PackPlan& pack : packs) {
    size->tokens = std::max(size->tokens, pack.num_tokens);
    size->supervised = std::max(size->supervised, pack.num_supervised);
    size->documents = std::max(size->documents, static_cast<int64_t>(pack.pieces.size()));
    const std::vector<int32_t> starts = data::DocumentStarts(pieces, pack);
    for (size_t d = 1; d < starts.size(); ++d) {
      const int64_t length = starts[d] - starts[d - 1];
      size->all_tokens += length;
      size->squares += length * length;
    }
    for (auto& [choice, most] : size->worst) {
      const int64_t bytes = attention_bytes(starts, choice);
      if (bytes > most.bytes) most = {starts, bytes};
    }
  }
}

std::vector<int32_t> ScaledStarts(absl::Span<const int32_t> starts, int64_t tokens) {
  std::vector<int64_t> lengths;
  for (int64_t all = 0, d = 0; all < tokens; ++d) {
    const size_t i = static_cast<size_t>(d) % std::max<size_t>(1, starts.size() - 1);
    const int64_t length = starts.size() < 2 ? tokens : starts[i + 1] - starts[i];
    lengths.push_back(std::min(std::max<int64_t>(length, 1), tokens - all));
    all += lengths.back();
  }
  std::sort(lengths.begin(), lengths.end(), std::greater<>());
  return StartsOfDocuments(lengths);
}

}  // namespace

PackSize WorstPack(absl::Span<const data::Piece> pieces, absl::Span<const data::PackPlan> packs,
                   AttentionBytesFn bytes) {
  PackSize size = NoPack();
  Widen(pieces, packs, bytes, &size);
  return size;
}

PackSize WorstOfSteps(const TrainingData& data, int64_t num_steps, AttentionBytesFn bytes) {
  PackSize size = NoPack();
  for (int64_t step = 0; step < std::min(num_steps, kMaxSteps); ++step) {
    Widen(data.train.pieces, data.plan->Step(step).packs, bytes, &size);
  }
  if (num_steps > kMaxSteps) {
    size.tokens = size.supervised = data.plan_options.tokens_per_pack;
    size.documents = data.plan_options.global_batch_size;
  }
  return size;
}

PackSize Scaled(const PackSize& size, int64_t tokens) {
  const auto scaled = [&](int64_t count) {
    return std::min(count * tokens / std::max<int64_t>(size.tokens, 1) + 1, tokens);
  };
  PackSize out = {
      .tokens = tokens, .supervised = scaled(size.supervised), .documents = scaled(size.documents)};
  for (const auto& [choice, worst] : size.worst) {
    out.worst[choice].starts = ScaledStarts(worst.starts, tokens);
  }
  return out;
}

std::vector<int32_t> StartsOfDocuments(absl::Span<const int64_t> lengths) {
  std::vector<int32_t> starts = {0};
  for (const int64_t length : lengths) {
    starts.push_back(starts.back() + static_cast<int32_t>(length));
  }
  return starts;
}

}  // namespace lockstep
