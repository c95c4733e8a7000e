// A model's size class, GGUF's general.size_label.
#pragma once

#include <cstdint>
#include <string>

namespace lockstep {

// "8.0B" of 8,030,261,248 weights, "135M" of 134,515,008: trillions, billions, millions or
// thousands, rounded to two digits or to all before the point, as llama.cpp's converter writes it.
std::string SizeLabel(int64_t num_weights);

}  // namespace lockstep
