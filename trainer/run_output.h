// Everything a run leaves behind, and what it says on the way. Rank 0 writes and speaks; on the
// other ranks every call succeeds and does nothing, so that the run itself need not ask who it is.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "dist/world.h"
#include "nn/model.h"
#include "tensor/context.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/flags/options.h"
#include "trainer/plan/memory_plan.h"
#include "trainer/plan/samples.h"
#include "trainer/plan/training_data.h"
#include "trainer/prepare.h"
#include "trainer/report/report.h"
#include "trainer/report/run_log.h"
#include "trainer/run_start.h"
#include "trainer/train_loop.h"

namespace lockstep {

class RunOutput {
 public:
  // Fills the output folder, which is there, and prints what the run is about to do. Arguments
  // outlive the object.
  static absl::StatusOr<std::unique_ptr<RunOutput>> Create(
      const TrainOptions& options, const Prepared& prepared, const MemoryPlan& memory,
      dist::World& world, const Context& context, const nn::Model& model);

  RunLog& log() { return *log_; }

  // Lets the model speak as it is before training: before a checkpoint is restored.
  absl::Status SampleBefore();
  // And as it is afterwards; if it cannot, why. What was trained does not depend on it.
  void SampleAfter();

  // Writes report.html; `state` is a word about the run: "running".
  absl::Status Show(const std::string& state);

  // Writes the trained values (unless the run was interrupted), samples, report and run.json, and
  // prints the end.
  absl::Status Finish(Ending ending, int64_t steps_done);

 private:
  RunOutput(const TrainOptions& options, const Prepared& prepared, const MemoryPlan& memory,
            dist::World& world, const Context& context, const nn::Model& model);
  bool speaks() const { return world_.rank() == 0; }
  absl::Status Begin();
  void SayWhatBegins(const std::vector<std::string>& changes);  // since the run's last part
  // Writes run.json.
  absl::Status WriteState(const std::string& state, int64_t steps_done);
  absl::StatusOr<std::vector<std::string>> Continuations() const;

  const TrainOptions& options_;
  const RunStart& start_;
  const RunIdentity& identity_;
  const TrainingData& data_;
  const MemoryPlan& memory_;
  dist::World& world_;
  const Context context_;
  const nn::Model& model_;
  const int64_t num_steps_;
  const std::string started_;
  std::unique_ptr<RunLog> log_;
  std::vector<Prompt> prompts_;
  std::vector<Sample> samples_;
};

}  // namespace lockstep
