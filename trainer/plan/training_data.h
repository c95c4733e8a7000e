// A run's documents, from files to plans: tokens, the pieces that are trained and evaluated on, and
// the step plan.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "data/dataset.h"
#include "data/doctor.h"
#include "data/encode.h"
#include "data/selection.h"
#include "data/step_plan.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/tokenizer_config.h"
#include "nn/config.h"
#include "trainer/flags/data_flags.h"

namespace lockstep {

// The documents as tokens: what the token cache holds. Needs no communicator, so the parent of the
// ranks can see to it before they start.
struct Documents {
  std::unique_ptr<const data::Tokenizer> tokenizer;  // null: the model has none
  data::TokenizerConfig tokenizer_config;
  std::unique_ptr<const data::DocumentEncoder> encoder;
  std::shared_ptr<const data::Dataset> train;
  std::shared_ptr<const data::Dataset> validation;  // --validation_file; else null
};
absl::StatusOr<Documents> LoadDocuments(const DataOptions& options, const nn::ModelConfig& model,
                                        const data::ProgressFn& progress);

// What the doctor wants to know of them (data/doctor.h).
data::DoctorInput DoctorInputOf(const Documents& documents, const DataOptions& options,
                                const nn::ModelConfig& model);

struct TrainingData {
  Documents documents;
  data::Selection train, validation;
  data::PlanOptions plan_options;
  std::unique_ptr<data::StepPlan> plan;
  std::vector<data::PackPlan> evaluation;  // packs of `validation`
  data::Diagnosis diagnosis;               // of the documents
  std::vector<std::string> idle_flags;     // trainer/plan/idle_flags.h

  const data::Dataset& validation_set() const {
    return documents.validation ? *documents.validation : *documents.train;
  }
};

// `options.tokens_per_pack` is what the flag or the checkpoint says. Not movable from where it is:
// the plan points into it. What the doctor calls an error is one.
absl::StatusOr<std::unique_ptr<TrainingData>> PlanTraining(Documents documents,
                                                           const DataOptions& options,
                                                           const nn::ModelConfig& model,
                                                           uint64_t seed);

// What of the documents does not reach the model: label, count; `of` stands before each count.
std::vector<std::pair<std::string, std::string>> LossTable(const data::Selection& selection,
                                                           int64_t num_skipped,
                                                           const std::string& of);
// What a person wants to know of the data before training: label, value.
std::vector<std::pair<std::string, std::string>> DataTable(const TrainingData& data);
// And of the step plan, which knows no ranks: with a hint where some of `ranks` would be idle.
std::vector<std::pair<std::string, std::string>> PlanTable(const TrainingData& data,
                                                           int64_t num_steps, int64_t ranks);

}  // namespace lockstep
