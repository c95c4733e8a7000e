// The next token from its logits.
//
//   p = softmax(logits / temperature), then only
//   the top_k likeliest tokens, then the fewest likeliest whose probabilities add up to top_p;
//   one of these is drawn.
//
// A draw is a pure function of (logits, options, index): the random number is Philox's for (seed,
// index), so a text is the same on every machine that computes the same logits.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace lockstep::nn {

struct SampleOptions {
  double temperature = 0;  // 0: the likeliest token, the first of equals
  int64_t top_k = 0;       // 0: all
  double top_p = 1;        // in (0, 1]; 1: all. The likeliest token always stays
  uint64_t seed = 42;
};

// `index` counts the tokens of a text. Error: a logit that is not a number.
absl::StatusOr<int32_t> SampleToken(absl::Span<const float> logits, const SampleOptions& options,
                                    int64_t index);

}  // namespace lockstep::nn
