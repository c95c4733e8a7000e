#include "data/step_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/check.h"
#include "base/hash.h"

namespace lockstep::data {
namespace {

// At this length a document's attention costs as much as all its other work.
constexpr int64_t kAttentionLength = 16384;

// Of packs whose size nobody has chosen, but for a longer piece.
constexpr int64_t kMostTokensPerPack = 8192;

int64_t Cost(int64_t length) { return length * (kAttentionLength + length); }

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A bijection of [0, size) keyed by `key`: a Feistel network over pairs (left, right) with
// left·columns + right covering [0, size), walked until the result is inside.
int64_t Permute(int64_t index, int64_t size, uint64_t key) {
  const int64_t columns = std::max<int64_t>(1, std::llround(std::ceil(std::sqrt(double(size)))));
  const int64_t rows = CeilDiv(size, columns);
  do {
    int64_t left = index / columns, right = index % columns;
    for (uint64_t round = 0; round < 8; round += 2) {
      left = (left + static_cast<int64_t>(MixKeys(key + round, right) % rows)) % rows;
      right = (right + static_cast<int64_t>(MixKeys(key + round + 1, left) % columns)) % columns;
    }
    index = left * columns + right;
  } while (index >= size);
  return index;
}

// Fewer packs than 8 where 8 would be too small to keep a device busy.
int64_t NumPacks(int64_t tokens, int64_t tokens_per_pack) {
  int64_t packs = 8 * CeilDiv(tokens, 8 * tokens_per_pack);
  while (packs > 1 && packs <= 8 && tokens / packs < kMinTokensPerPack) packs /= 2;
  return packs;
}

// 1, 2, 4, 8, 16, 24, …
int64_t NextNumPacks(int64_t packs) { return packs < 8 ? 2 * packs : packs + 8; }

// Deals `order` (pieces, longest first) to packs; false if some piece finds no room.
bool Deal(absl::Span<const Piece> pieces, absl::Span<const int64_t> order, int64_t tokens_per_pack,
          std::vector<PackPlan>& packs) {
  for (const int64_t piece : order) {
    const int64_t length = pieces[piece].length();
    PackPlan* cheapest = nullptr;
    for (PackPlan& pack : packs) {
      if (pack.num_tokens + length > tokens_per_pack) continue;
      if (cheapest == nullptr || pack.cost < cheapest->cost) cheapest = &pack;
    }
    if (cheapest == nullptr) return false;
    cheapest->pieces.push_back(piece);
    cheapest->num_tokens += length;
    cheapest->num_supervised += pieces[piece].num_supervised;
    cheapest->cost += Cost(length);
  }
  return true;
}

}  // namespace

StepPlan::StepPlan(absl::Span<const Piece> pieces, const PlanOptions& options)
    : pieces_(pieces),
      options_(options),
      steps_per_epoch_(CeilDiv(pieces.size(), options.global_batch_size)) {
  CHECK_GT(options.global_batch_size, 0);
  for (const Piece& piece : pieces) {
    CHECK_LE(int64_t{piece.length()}, options.tokens_per_pack)
        << "[step_plan] tokens_per_pack is under the longest piece";
  }
}

int64_t StepPlan::PieceAt(int64_t epoch, int64_t place) const {
  return Permute(place, static_cast<int64_t>(pieces_.size()), MixKeys(options_.seed, epoch));
}

StepPacks StepPlan::Step(int64_t step) const {
  StepPacks result;
  result.epoch = step / steps_per_epoch_;
  const int64_t begin = step % steps_per_epoch_ * options_.global_batch_size;
  const int64_t end = std::min<int64_t>(begin + options_.global_batch_size, pieces_.size());
  std::vector<int64_t> order;
  for (int64_t place = begin; place < end; ++place) {
    const int64_t piece = PieceAt(result.epoch, place);
    order.push_back(piece);
    result.num_tokens += pieces_[piece].length();
    result.num_supervised += pieces_[piece].num_supervised;
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return pieces_[a].length() > pieces_[b].length(); });
  int64_t packs = NumPacks(result.num_tokens, options_.tokens_per_pack);
  do {
    result.packs.assign(packs, PackPlan());
    packs = NextNumPacks(packs);
  } while (!Deal(pieces_, order, options_.tokens_per_pack, result.packs));
  std::erase_if(result.packs, [](const PackPlan& pack) { return pack.pieces.empty(); });
  return result;
}

StepPlan::Summary StepPlan::Summarize() const {
  Summary summary;
  summary.min_packs = std::numeric_limits<int64_t>::max();
  for (int64_t s = 0; s < steps_per_epoch_; ++s) {
    const StepPacks step = Step(s);
    const int64_t count = static_cast<int64_t>(step.packs.size());
    summary.max_packs = std::max(summary.max_packs, count);
    summary.min_packs = std::min(summary.min_packs, count);
    int64_t most = 0, all = 0;
    for (const PackPlan& pack : step.packs) {
      summary.max_pack_tokens = std::max(summary.max_pack_tokens, pack.num_tokens);
      summary.max_pack_supervised = std::max(summary.max_pack_supervised, pack.num_supervised);
      most = std::max(most, pack.cost);
      all += pack.cost;
    }
    summary.mean_imbalance += static_cast<double>(most) * count / all - 1;
  }
  summary.mean_imbalance /= static_cast<double>(std::max<int64_t>(1, steps_per_epoch_));
  return summary;
}

std::string StepPlan::Hash() const {
  uint64_t pieces = 0;  // by field: what lies between fields is undefined
  for (const Piece& piece : pieces_) {
    for (const uint64_t field : {static_cast<uint64_t>(piece.document), uint64_t{piece.begin},
                                 uint64_t{piece.end}, uint64_t{piece.num_supervised}}) {
      pieces = MixKeys(pieces, field);
    }
  }
  return HashHex(std::to_string(pieces) + "," + std::to_string(options_.global_batch_size) + "," +
                 std::to_string(options_.tokens_per_pack) + "," + std::to_string(options_.seed));
}

int64_t DefaultTokensPerPack(absl::Span<const Piece> pieces, int64_t global_batch_size) {
  int64_t longest = 1;
  std::vector<int64_t> lengths;
  for (const Piece& piece : pieces) lengths.push_back(piece.length());
  const size_t batch = std::min<size_t>(global_batch_size, lengths.size());
  std::partial_sort(lengths.begin(), lengths.begin() + batch, lengths.end(), std::greater<>());
  if (!lengths.empty()) longest = lengths[0];
  const int64_t most = std::accumulate(lengths.begin(), lengths.begin() + batch, int64_t{0});
  // One longest piece above an eighth: dealing longest first never needs more in 8 packs.
  const int64_t wanted = std::max(CeilDiv(most, 8) + longest, 2 * kMinTokensPerPack);
  const int64_t tokens = std::max(longest, std::min(wanted, kMostTokensPerPack));
  return CeilDiv(tokens, 64) * 64;
}

int64_t BatchSizeForRanks(absl::Span<const Piece> pieces, int64_t ranks) {
  int64_t packs = 1, tokens = 0;
  while (packs < ranks) packs = NextNumPacks(packs);
  const int64_t wanted = packs == 1   ? 1
                         : packs <= 8 ? packs * kMinTokensPerPack
                                      : (packs - 8) * kMostTokensPerPack + 1;
  for (const Piece& piece : pieces) tokens += piece.length();
  const auto count = static_cast<int64_t>(pieces.size());
  return std::max(ranks, tokens == 0 ? 0 : CeilDiv(wanted * count, tokens));
}

std::vector<std::vector<int64_t>> DealPacks(absl::Span<const PackPlan> packs, int world_size) {
  std::vector<int64_t> order(packs.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return packs[a].cost > packs[b].cost; });
  std::vector<std::vector<int64_t>> dealt(world_size);
  std::vector<int64_t> cost(world_size, 0);
  for (const int64_t pack : order) {
    const size_t rank = std::min_element(cost.begin(), cost.end()) - cost.begin();
    dealt[rank].push_back(pack);
    cost[rank] += packs[pack].cost;
  }
  return dealt;
}

std::vector<PackPlan> PlanEvaluation(absl::Span<const Piece> pieces, int64_t tokens_per_pack) {
  std::vector<int64_t> order(pieces.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return pieces[a].length() > pieces[b].length(); });
  std::vector<PackPlan> packs;
  for (const int64_t piece : order) {
    const int64_t length = pieces[piece].length();
    if (packs.empty() || packs.back().num_tokens + length > tokens_per_pack) packs.emplace_back();
    PackPlan& pack = packs.back();
    pack.pieces.push_back(piece);
    pack.num_tokens += length;
    pack.num_supervised += pieces[piece].num_supervised;
    pack.cost += Cost(length);
  }
  return packs;
}

std::vector<int32_t> DocumentStarts(absl::Span<const Piece> pieces, const PackPlan& pack) {
  std::vector<int32_t> starts = {0};
  for (const int64_t piece : pack.pieces) {
    starts.push_back(starts.back() + static_cast<int32_t>(pieces[piece].length()));
  }
  return starts;
}

}  // namespace lockstep::data
