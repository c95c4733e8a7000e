// A step beside its ceiling (ceiling.h), in one run.
#pragma once

#include <cstdint>

#include "nn/decoder.h"
#include "tensor/context.h"
#include "tools/benchmarks/step.h"

namespace lockstep {

struct CompareOptions {
  int steps;                // of a row
  int rounds;               // in which step and ceiling take turns
  int64_t score_bytes = 0;  // as the step's
};

// Prints the rates of both, in turns and in rows of equal time, since the clock of a GPU depends on
// the power that it draws; then those of the ceiling's parts, each in a row of its own, and their
// sum. With power and clock where they can be had.
void CompareWithCeiling(const Context& context, const nn::Decoder& decoder,
                        const CompareOptions& options, BenchStep* step);

}  // namespace lockstep
