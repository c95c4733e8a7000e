#include "trainer/run_output.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/file.h"
#include "base/number.h"
#include "base/status.h"
#include "trainer/plan/num_steps.h"
#include "trainer/provenance.h"
#include "trainer/report/environment.h"
#include "trainer/report/report.h"
#include "trainer/run_folder.h"

namespace lockstep {
namespace {

constexpr size_t kMaxMembers = 16;

using Json = nlohmann::json;
using Rows = std::vector<std::pair<std::string, std::string>>;

Json ObjectOf(const Rows& rows) {
  Json json = Json::object();
  for (const auto& [name, value] : rows) json[name] = value;
  return json;
}

Rows Headlines(const MetricsHistory& history, int64_t num_steps) {
  Rows rows;
  if (!history.evals.empty()) {
    rows.push_back(
        {"validation loss", absl::StrFormat("%.2f → %.2f", history.evals.front().eval_loss,
                                            history.evals.back().eval_loss)});
  }
  if (history.steps.empty()) return rows;
  double seconds = 0, tokens = 0;
  for (const StepRecord& record : history.steps) {
    seconds += record.step_time_s;
    tokens += static_cast<double>(record.tokens);
  }
  rows.push_back({"training loss", absl::StrFormat("%.2f → %.2f", history.steps.front().loss,
                                                   history.steps.back().loss)});
  rows.push_back({"steps", absl::StrCat(history.steps.size(), " of ", num_steps)});
  rows.push_back({"tokens", HumanCount(tokens)});
  rows.push_back({"tokens per second", HumanCount(tokens / seconds)});
  rows.push_back({"time in steps", ClockTime(seconds)});
  return rows;
}

Rows OptionRows(const TrainOptions& options) {
  Rows rows;
  for (const auto& [name, value] : options.run_flags) rows.push_back({"--" + name, value});
  return rows;
}

std::string Word(Ending ending) {
  switch (ending) {
    case Ending::kDone:
      return "done";
    case Ending::kEarlyStopped:
      return "early stopped";
    case Ending::kInterrupted:
      return "interrupted";
  }
  return "";
}

// Options of an adapter that are PEFT's alone. vLLM's peft_helper.py refuses use_dora and
// modules_to_save and passes over the others, so that it would compute something else.
std::vector<std::string> OptionsOfPeftAlone(const nn::LoraConfig& lora) {
  std::vector<std::string> names;
  if (lora.use_dora) names.push_back("use_dora");
  if (!lora.modules_to_save.empty()) names.push_back("modules_to_save");
  if (!lora.rank_pattern.empty()) names.push_back("rank_pattern");
  if (!lora.alpha_pattern.empty()) names.push_back("alpha_pattern");
  if (lora.init == nn::LoraInit::kPissa) names.push_back("init_lora_weights=pissa");
  return names;
}

}  // namespace

RunOutput::RunOutput(const TrainOptions& options, const Prepared& prepared,
                     const MemoryPlan& memory, dist::World& world, const Context& context,
                     const nn::Model& model)
    : options_(options),
      start_(prepared.start),
      identity_(prepared.identity),
      data_(*prepared.data),
      memory_(memory),
      world_(world),
      context_(context),
      model_(model),
      num_steps_(NumSteps(options, *prepared.data->plan)),
      started_(absl::FormatTime(absl::RFC3339_sec, absl::Now(), absl::UTCTimeZone())),
      log_(std::make_unique<RunLog>()) {}

absl::StatusOr<std::unique_ptr<RunOutput>> RunOutput::Create(
    const TrainOptions& options, const Prepared& prepared, const MemoryPlan& memory,
    dist::World& world, const Context& context, const nn::Model& model) {
  std::unique_ptr<RunOutput> output(
      new RunOutput(options, prepared, memory, world, context, model));
  if (output->speaks()) RETURN_IF_ERROR(output->Begin());
  return output;
}

absl::Status RunOutput::Begin() {
  RETURN_IF_ERROR(CreateRunFolder(start_, options_, data_.plan_options.tokens_per_pack));
  const bool resumes = start_.kind == RunStart::Kind::kResume;
  const Provenance before =
      resumes ? ReadProvenance(JoinPath(start_.checkpoint, "../../run.json")) : Provenance();
  RETURN_IF_ERROR(WriteState("running", start_.state.step));
  RETURN_IF_ERROR(CopyTokenizerFiles(start_, options_));
  RETURN_IF_ERROR(MakeDirectories(CheckpointFolder(start_)));
  world_.SetLogDirectory(JoinPath(start_.folder, "logs"));
  const int64_t last_step = resumes ? start_.state.step : -1;
  const int64_t last_eval = last_step - (start_.state.evaluation_due ? 1 : 0);
  ASSIGN_OR_RETURN(
      log_, RunLog::Open(start_.folder, last_step, last_eval, num_steps_, options_.logging_steps));
  SayWhatBegins(ProvenanceChanges(before, ProvenanceOf(options_, world_)));
  prompts_ = ChoosePrompts(data_);
  return absl::OkStatus();
}

void RunOutput::SayWhatBegins(const std::vector<std::string>& changes) {
  log_->Say(absl::StrFormat("model %s, %s trainable parameters", ShownPath(options_.data.model),
                            HumanCount(static_cast<double>(model_.parameters().num_trainable()))));
  if (!options_.data.stand_in.empty()) log_->Say("note: " + options_.data.stand_in);
  if (!options_.in_lockstep()) {
    log_->Say("note: without --gradient_sum=exact the bits depend on the number of ranks");
  }
  const OptimizerOptions& optimizer = options_.optimizer;
  if (optimizer.lr_scheduler_type == nn::LrSchedulerType::kConstant &&
      optimizer.warmup_steps.value_or(0) > 0) {
    log_->Say("note: --lr_scheduler_type=constant has no warm-up; constant_with_warmup has");
  }
  for (const std::string& note : start_.notes) log_->Say(note);
  for (const std::string& change : changes) log_->Say(change);
  if (world_.size() > 1) log_->Say(MemberTable(world_.members(), kMaxMembers, world_.env()));
  for (const std::string& warning : model_.warnings()) log_->Say("note: " + warning);
  if (model_.lora()) {
    const std::vector<std::string> peft = OptionsOfPeftAlone(*model_.lora());
    if (!peft.empty()) {
      log_->Say(absl::StrCat("note: vLLM does not apply an adapter's ", absl::StrJoin(peft, ", "),
                             "; it loads the model that //tools:merge writes"));
    }
  }
  for (const auto& [name, value] : DataTable(data_)) {
    log_->Say(TableRow(name, value));
  }
  for (const auto& [name, value] : PlanTable(data_, num_steps_, world_.size())) {
    log_->Say(TableRow(name, value));
  }
  log_->Say(TableRow(
      "memory of a rank",
      absl::StrCat(HumanBytes(static_cast<double>(memory_.allocated())),
                   " planned, --gradient_checkpointing=", NameOf(memory_.forward.checkpointing))));
  log_->Say(absl::StrFormat("%s on %d %s, output in %s",
                            start_.kind == RunStart::Kind::kResume
                                ? absl::StrCat("goes on after step ", start_.state.step)
                                : std::string("starts"),
                            world_.size(), world_.size() == 1 ? "rank" : "ranks", start_.folder));
}

absl::StatusOr<std::vector<std::string>> RunOutput::Continuations() const {
  if (prompts_.empty()) return std::vector<std::string>();
  return Continue(context_, model_.decoder(), *data_.documents.tokenizer, prompts_);
}

absl::Status RunOutput::SampleBefore() {
  ASSIGN_OR_RETURN(const std::vector<std::string> before, Continuations());
  for (size_t i = 0; i < before.size(); ++i) {
    samples_.push_back({prompts_[i].text, before[i], ""});
  }
  return absl::OkStatus();
}

void RunOutput::SampleAfter() {
  const absl::StatusOr<std::vector<std::string>> after = Continuations();
  const std::string why = absl::StrCat("(", after.status().message(), ")");
  for (size_t i = 0; i < samples_.size(); ++i) samples_[i].after = after.ok() ? (*after)[i] : why;
}

absl::Status RunOutput::Show(const std::string& state) {
  if (!speaks()) return absl::OkStatus();
  Report report;
  report.title = std::filesystem::path(start_.folder).filename();
  report.state = state;
  report.headlines = Headlines(log_->history(), num_steps_);
  report.samples = samples_;
  Rows environment = Hardware();
  for (auto& row : Versions()) environment.push_back(std::move(row));
  report.tables = {{"Data", DataTable(data_)},
                   {"Plan", PlanTable(data_, num_steps_, world_.size())},
                   {"Options", OptionRows(options_), /*folded=*/true},
                   {"Environment", environment, /*folded=*/true}};
  return WriteFileAtomically(JoinPath(start_.folder, "report.html"),
                             RenderReport(report, log_->history()));
}

absl::Status RunOutput::WriteState(const std::string& state, int64_t steps_done) {
  Json placement = Json::array();
  for (const dist::Member& m : world_.members()) {
    placement.push_back(
        {{"rank", m.rank}, {"host", m.host}, {"node", m.node}, {"device", m.device}});
  }
  const Json json = {{"state", state},
                     {"started", started_},
                     {"steps_done", steps_done},
                     {"num_steps", num_steps_},
                     {"tokens_per_pack", data_.plan_options.tokens_per_pack},
                     {"ranks", world_.size()},
                     {"bits_independent_of_ranks", options_.in_lockstep()},
                     {"memory",
                      {{"gradient_checkpointing", NameOf(memory_.forward.checkpointing)},
                       {"keep_attention", memory_.forward.keep_attention},
                       {"score_bytes", memory_.forward.score_bytes},
                       {"planned_bytes", memory_.allocated()},
                       {"peak_bytes", context_.allocator->peak_bytes()}}},
                     {"provenance", ProvenanceOf(options_, world_)},
                     {"placement", placement},
                     {"options", ObjectOf(options_.run_flags)},
                     {"identity", identity_},
                     {"hashes",
                      {{"data", identity_.at("content of --train_file")},
                       {"plan", data_.plan->Hash()},
                       {"model", identity_.at("content of --model")},
                       {"program", BinaryHash()}}},
                     {"versions", ObjectOf(Versions())},
                     {"hardware", ObjectOf(Hardware())}};
  return WriteFileAtomically(JoinPath(start_.folder, "run.json"), json.dump(2) + "\n");
}

absl::Status RunOutput::Finish(Ending ending, int64_t steps_done) {
  if (!speaks()) return absl::OkStatus();
  const auto planned = static_cast<double>(memory_.allocated());
  const auto peak = static_cast<double>(context_.allocator->peak_bytes());
  log_->Say(
      absl::StrFormat("memory: at most %s of %s planned", HumanBytes(peak), HumanBytes(planned)));
  if (ending == Ending::kInterrupted) {
    log_->Say(absl::StrFormat("interrupted after step %d; %s goes on from there", steps_done,
                              SameCommand(start_, options_)));
  } else {
    RETURN_IF_ERROR(model_.Save(start_.folder, options_.data.model_name));
    for (const Sample& sample : samples_) {
      log_->Say(absl::StrCat("\n> ", sample.prompt, "\nbefore: ", sample.before,
                             "\nafter:  ", sample.after));
    }
    log_->Say(absl::StrCat("\n", options_.model.full ? "weights" : "adapter",
                           ", curves and report in ", start_.folder));
  }
  RETURN_IF_ERROR(Show(Word(ending)));
  return WriteState(Word(ending), steps_done);
}

}  // namespace lockstep
