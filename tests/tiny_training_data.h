// Uneven documents for the tiny model (tiny_model.h), planned as the trainer plans them.
#pragma once

#include <memory>
#include <string>

#include "trainer/plan/training_data.h"

namespace lockstep {

// `model`: the tiny model's folder. Documents and their token cache lie in new folders.
std::unique_ptr<TrainingData> TinyTrainingData(const std::string& model, int count, int longest);

}  // namespace lockstep
