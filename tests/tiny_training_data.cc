#include "tests/tiny_training_data.h"

#include <utility>

#include "base/check.h"
#include "tests/tiny_model.h"
#include "tests/trainer_process.h"

namespace lockstep {

std::unique_ptr<TrainingData> TinyTrainingData(const std::string& model, int count, int longest,
                                               int64_t max_seq_length) {
  DataOptions options;
  options.model = model;
  options.train_files = {FreshPath("documents") + ".jsonl"};
  options.cache_dir = FreshPath("cache");
  options.length.max_seq_length = max_seq_length;
  WriteUnevenDocuments(options.train_files[0], count, longest);
  const auto config = nn::ReadModelConfig(model);
  CHECK(config.ok()) << config.status();
  auto documents = LoadDocuments(options, *config, nullptr);
  CHECK(documents.ok()) << documents.status();
  auto data = PlanTraining(*std::move(documents), options, *config, /*seed=*/42);
  CHECK(data.ok()) << data.status();
  return *std::move(data);
}

}  // namespace lockstep
