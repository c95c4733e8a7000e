// What a run has come to, as far as equal bits make it equal.
#pragma once

#include <string>

namespace lockstep {

// The bytes of the adapter or, after full training, of the weights in `folder`; "": neither is
// there.
std::string TrainedIn(const std::string& folder);

struct RunResult {
  std::string trained;
  std::string figures;  // metrics.jsonl with its times set to zero, steps before evaluations
};

// No metrics.jsonl in `folder`, or one that is none of ours, is fatal.
RunResult ResultIn(const std::string& folder);

// Expects equal bits; says which figures differ.
void ExpectSame(const RunResult& got, const RunResult& want);

}  // namespace lockstep
