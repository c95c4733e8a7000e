// Generation: a model goes on from a prompt, token by token.
//
//   GenerateOptions options;
//   options.stop_ids = model->config().eos_token_ids;
//   const absl::StatusOr<Stop> stop = Generate(context, model->decoder(), prompt, options,
//       [&](int32_t id) { std::cout << decoder.Push(id); return true; });
//
// The prompt goes through the model once, then each token alone; keys and values of what came
// before are kept (nn/kv_cache.h); where RoPE's frequencies change with the length of a text, all
// of it goes through again. A pass for one token reads every weight, and so does one for the next
// tokens of several texts: GenerateAll goes on with all of them at once.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "nn/decoder.h"
#include "nn/sample.h"
#include "tensor/context.h"

namespace lockstep::nn {

struct GenerateOptions {
  SampleOptions sample = {};
  int64_t max_new_tokens = 256;
  std::vector<int64_t> stop_ids = {};  // tokens that end a text; they are not handed out
};

enum class Stop {
  kStopToken,
  kMaxNewTokens,
  kModelLength,  // the model knows no further position
  kCaller,       // on_token said so
};

// Calls on_token(id) for each new token as soon as it is known, until one of stop_ids comes,
// on_token returns false, or there is no more room. Errors: an empty prompt, an id outside of the
// vocabulary, a prompt that leaves no room within ModelConfig::longest_document().
absl::StatusOr<Stop> Generate(const Context& context, const Decoder& decoder,
                              absl::Span<const int32_t> prompt, const GenerateOptions& options,
                              absl::FunctionRef<bool(int32_t id)> on_token);

// The same for several prompts: on_token(text, id), and why each text ended.
absl::StatusOr<std::vector<Stop>> GenerateAll(
    const Context& context, const Decoder& decoder, absl::Span<const std::vector<int32_t>> prompts,
    const GenerateOptions& options, absl::FunctionRef<bool(size_t text, int32_t id)> on_token);

}  // namespace lockstep::nn
