// Uneven documents for the tiny model (tiny_model.h), planned as the trainer plans them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "trainer/plan/training_data.h"

namespace lockstep {

// `model`: the tiny model's folder. Documents and their token cache lie in new folders; those
// longer than `max_seq_length` are cut.
std::unique_ptr<TrainingData> TinyTrainingData(const std::string& model, int count, int longest,
                                               int64_t max_seq_length = 2048);

}  // namespace lockstep
