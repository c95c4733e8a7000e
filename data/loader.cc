#include "data/loader.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "base/hash.h"

namespace lockstep::data {
namespace {

constexpr size_t kStepsAhead = 2;

}  // namespace

Pack BuildPack(const Dataset& dataset, absl::Span<const Piece> pieces, const PackPlan& plan,
               int64_t epoch) {
  Pack pack;
  pack.cu_seqlens = DocumentStarts(pieces, plan);
  for (const int64_t index : plan.pieces) {
    const Piece& piece = pieces[index];
    const absl::Span<const CachedToken> tokens = dataset.tokens(piece.document);
    const uint64_t key = MixKeys(epoch, piece.document);
    for (uint32_t i = piece.begin; i < piece.end; ++i) {
      if (i > piece.begin && tokens[i].supervised()) {
        pack.target_rows.push_back(static_cast<int32_t>(pack.num_tokens()) - 1);
        pack.targets.push_back(tokens[i].id());
      }
      pack.input_ids.push_back(tokens[i].id());
      pack.positions.push_back(static_cast<int32_t>(i - piece.begin));
      pack.token_keys.push_back(static_cast<int64_t>(MixKeys(key, i)));
    }
    pack.documents.push_back(piece.document);
  }
  return pack;
}

struct StepLoader::Prefetch {
  const Dataset& dataset;
  absl::Span<const Piece> pieces;
  const StepPlan& plan;
  const int rank;
  const int world_size;

  std::mutex mutex;
  std::condition_variable changed;
  std::deque<RankStep> ready;
  bool stopping = false;
  std::thread thread;

  RankStep Build(int64_t index) const {
    const StepPacks packs = plan.Step(index);
    RankStep step;
    step.step = index;
    step.epoch = packs.epoch;
    step.num_packs = static_cast<int64_t>(packs.packs.size());
    step.num_supervised = packs.num_supervised;
    step.num_tokens = packs.num_tokens;
    const std::vector<std::vector<int64_t>> dealt = DealPacks(packs.packs, world_size);
    for (const int64_t mine : dealt[rank]) {
      step.packs.push_back(BuildPack(dataset, pieces, packs.packs[mine], packs.epoch));
    }
    return step;
  }

  void Run(int64_t first_step) {
    for (int64_t index = first_step;; ++index) {
      RankStep step = Build(index);
      std::unique_lock<std::mutex> lock(mutex);
      changed.wait(lock, [this] { return stopping || ready.size() < kStepsAhead; });
      if (stopping) return;
      ready.push_back(std::move(step));
      changed.notify_all();
    }
  }
};

StepLoader::StepLoader(const Dataset& dataset, absl::Span<const Piece> pieces, const StepPlan& plan,
                       int rank, int world_size, int64_t first_step)
    : prefetch_(new Prefetch{dataset, pieces, plan, rank, world_size, {}, {}, {}, false, {}}) {
  prefetch_->thread = std::thread([p = prefetch_.get(), first_step] { p->Run(first_step); });
}

StepLoader::~StepLoader() {
  {
    std::lock_guard<std::mutex> lock(prefetch_->mutex);
    prefetch_->stopping = true;
  }
  prefetch_->changed.notify_all();
  prefetch_->thread.join();
}

RankStep StepLoader::Next() {
  std::unique_lock<std::mutex> lock(prefetch_->mutex);
  prefetch_->changed.wait(lock, [this] { return !prefetch_->ready.empty(); });
  RankStep step = std::move(prefetch_->ready.front());
  prefetch_->ready.pop_front();
  prefetch_->changed.notify_all();
  return step;
}

}  // namespace lockstep::data
