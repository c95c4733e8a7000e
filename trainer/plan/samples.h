// What the model says, before and after training: greedy continuations of a few documents' prompts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/tokenizer/tokenizer.h"
#include "nn/decoder.h"
#include "tensor/context.h"
#include "trainer/plan/training_data.h"

namespace lockstep {

inline constexpr int kNumSamples = 2;
inline constexpr int64_t kMaxSampleTokens = 80;

// A prompt as the model sees it: a document up to its first supervised token.
struct Prompt {
  std::vector<int32_t> ids;
  std::string text;
};

// Different prompts of up to kNumSamples documents that are held out, or trained on where none are.
// None without a tokenizer.
std::vector<Prompt> ChoosePrompts(const TrainingData& data);

// Their continuations, the likeliest token each time, until one that ends a text or
// kMaxSampleTokens.
absl::StatusOr<std::vector<std::string>> Continue(const Context& context,
                                                  const nn::Decoder& decoder,
                                                  const data::Tokenizer& tokenizer,
                                                  absl::Span<const Prompt> prompts);

}  // namespace lockstep
