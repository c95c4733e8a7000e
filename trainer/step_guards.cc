#include "trainer/step_guards.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "data/loader.h"
#include "trainer/step/evaluate.h"
#include "trainer/step/step_gradient.h"

namespace lockstep {
namespace {

constexpr size_t kNamed = 4;  // documents, of each rank and in all
constexpr int kMostSkipped = 20;

}  // namespace

absl::Status StepGuards::Check(const StepRecord& record) {
  if (!std::isfinite(record.loss) || !std::isfinite(record.grad_norm)) return NotFinite(record);
  skipped_in_a_row_ = 0;
  const auto finding = watch_.Add(record.loss, record.grad_norm);
  if (!finding) return absl::OkStatus();
  const std::string documents = Share(FindHighest(record.step - 1));
  if (finding->kind == LossWatch::Kind::kZero) {
    return Warn(run_.options.on_zero_loss,
                absl::StrFormat("step %d: nothing to learn: loss %g, gradient norm %g; documents: "
                                "%s",
                                record.step, record.loss, record.grad_norm, documents),
                "doctor prints what is supervised; --on_zero_loss=warn goes on");
  }
  return Warn(run_.options.on_spike,
              absl::StrFormat("step %d: the loss jumps to %.4g from about %.4g; highest now: %s",
                              record.step, record.loss, finding->usual, documents),
              "look at these documents, or lower --learning_rate; --on_spike=warn goes on");
}

absl::Status StepGuards::Warn(OnOddLoss policy, const std::string& what, const std::string& hint) {
  if (policy == OnOddLoss::kStop) return UserError("loss", what, hint);
  run_.log.Say("warning: " + what);
  return absl::OkStatus();
}

absl::Status StepGuards::NotFinite(const StepRecord& record) {
  const std::string documents = Share(FindNotFinite(record.step - 1));
  const std::string where = absl::StrCat("step ", record.step);
  if (run_.options.on_nonfinite == OnNonFinite::kStop) {
    return UserError(where,
                     absl::StrFormat("want a finite loss and gradient, got loss %g and gradient "
                                     "norm %g; documents: %s",
                                     record.loss, record.grad_norm, documents),
                     "a lower --learning_rate; --on_nonfinite=skip leaves such steps out");
  }
  run_.log.Say(absl::StrCat("warning: ", where,
                            " is left out, its loss or gradient is not finite; ",
                            "documents: ", documents));
  if (++skipped_in_a_row_ < kMostSkipped) return absl::OkStatus();
  return UserError(where,
                   absl::StrCat("loss or gradient were not finite in ", kMostSkipped,
                                " steps in a row: nothing is learned any more"),
                   "a lower --learning_rate; the model itself may have a bad weight");
}

std::vector<data::PackPlan> StepGuards::OwnPacks(const data::StepPacks& step) const {
  std::vector<data::PackPlan> own;
  const auto dealt = data::DealPacks(step.packs, run_.world.size());
  for (const int64_t index : dealt[run_.world.rank()]) own.push_back(step.packs[index]);
  return own;
}

data::Pack StepGuards::Build(const data::PackPlan& plan, const data::StepPacks& step) const {
  run_.world.heartbeat().Report({"search"});
  return data::BuildPack(*run_.data.documents.train, run_.data.train.pieces, plan, step.epoch);
}

bool StepGuards::IsFinite(const data::Pack& pack, const data::StepPacks& step) {
  if (pack.targets.empty()) return true;
  parallel_->BeginStep(static_cast<int64_t>(step.packs.size()));
  PackGradient(run_.context, run_.model.decoder(), pack, step.num_supervised, run_.forward,
               /*last=*/false, parallel_, [](const char*) {});
  return parallel_->OwnSumsAreFinite();
}

// Packs first, then the documents of a bad one, each by itself.
std::vector<StepGuards::Suspect> StepGuards::FindNotFinite(int64_t index) {
  const data::StepPacks step = run_.data.plan->Step(index);
  std::vector<Suspect> suspects;
  for (const data::PackPlan& plan : OwnPacks(step)) {
    const data::Pack pack = Build(plan, step);
    if (suspects.size() >= kNamed || IsFinite(pack, step)) continue;
    const size_t before = suspects.size();
    for (const int64_t piece : plan.pieces) {
      data::PackPlan alone;
      alone.pieces = {piece};
      const data::Pack document = Build(alone, step);
      if (!IsFinite(document, step)) suspects.push_back({document.documents[0], std::nan("")});
    }
    if (suspects.size() > before) continue;
    for (const int64_t document : pack.documents) suspects.push_back({document, std::nan("")});
  }
  return suspects;
}

std::vector<StepGuards::Suspect> StepGuards::FindHighest(int64_t index) {
  const data::StepPacks step = run_.data.plan->Step(index);
  std::vector<Suspect> suspects;
  for (const data::PackPlan& plan : OwnPacks(step)) {
    for (const SequenceLoss& sequence :
         SequenceLosses(run_.context, run_.model.decoder(), Build(plan, step))) {
      if (sequence.supervised_tokens == 0) continue;
      suspects.push_back(
          {sequence.document, sequence.nll / static_cast<double>(sequence.supervised_tokens)});
    }
  }
  const auto higher = [](const Suspect& a, const Suspect& b) { return a.loss > b.loss; };
  std::sort(suspects.begin(), suspects.end(), higher);
  return suspects;
}

std::string StepGuards::Share(std::vector<Suspect> mine) const {
  mine.resize(kNamed, {-1, 0});
  std::vector<double> own;
  for (const Suspect& suspect : mine) {
    own.push_back(static_cast<double>(suspect.document));
    own.push_back(suspect.loss);
  }
  const std::vector<double> all =
      dist::AllGatherValues(run_.world.communicator(), std::move(own), "documents");
  std::vector<Suspect> suspects;
  for (size_t i = 0; i < all.size(); i += 2) {
    if (all[i] >= 0) suspects.push_back({static_cast<int64_t>(all[i]), all[i + 1]});
  }
  std::sort(suspects.begin(), suspects.end(), [](const Suspect& a, const Suspect& b) {
    const bool a_first = a.loss > b.loss || (std::isnan(a.loss) && !std::isnan(b.loss));
    const bool b_first = b.loss > a.loss || (std::isnan(b.loss) && !std::isnan(a.loss));
    return a_first != b_first ? a_first : a.document < b.document;
  });
  if (suspects.size() > kNamed) suspects.resize(kNamed);
  if (suspects.empty()) return "none that shows it again";
  return absl::StrJoin(suspects, ", ", [this](std::string* out, const Suspect& suspect) {
    absl::StrAppend(out, run_.data.documents.train->Position(suspect.document));
    if (!std::isnan(suspect.loss)) absl::StrAppendFormat(out, " (loss %.3g)", suspect.loss);
  });
}

}  // namespace lockstep
