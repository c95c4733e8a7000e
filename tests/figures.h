// What a run has noted down, as far as equal bits make it equal.
#pragma once

#include <string>

namespace lockstep {

// `folder`/metrics.jsonl with its times set to zero, steps before evaluations. No such
// file, or one that is none of ours, is fatal.
std::string FiguresIn(const std::string& folder);

}  // namespace lockstep
