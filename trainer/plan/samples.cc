#include "trainer/plan/samples.h"

#include <algorithm>

#include "base/status.h"
#include "nn/generate.h"

namespace lockstep {
std::vector<Prompt> ChoosePrompts(const TrainingData& data) {
  std::vector<Prompt> prompts;
  if (data.documents.tokenizer == nullptr) return prompts;
  const bool held_out = !data.validation.pieces.empty();
  const std::vector<data::Piece>& pieces = held_out ? data.validation.pieces : data.train.pieces;
  const data::Dataset& set = held_out ? data.validation_set() : *data.documents.train;
  for (const data::Piece& piece : pieces) {
    if (prompts.size() == kNumSamples) break;
    const auto tokens = set.tokens(piece.document).subspan(0, piece.end);
    size_t length = 0;
    while (length < tokens.size() && !tokens[length].supervised()) ++length;
    // Plain text is supervised from its second token on: a few words of it to begin with.
    if (length < 2) length = std::min<size_t>(8, tokens.size());
    Prompt prompt;
    for (size_t i = 0; i < length; ++i) prompt.ids.push_back(tokens[i].id());
    const auto is_same = [&](const Prompt& other) { return other.ids == prompt.ids; };
    if (std::any_of(prompts.begin(), prompts.end(), is_same)) continue;  // would say the same
    prompt.text = data.documents.tokenizer->Decode(prompt.ids, /*skip_special_tokens=*/true);
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

absl::StatusOr<std::vector<std::string>> Continue(const Context& context,
                                                  const nn::Decoder& decoder,
                                                  const data::Tokenizer& tokenizer,
                                                  absl::Span<const Prompt> prompts) {
  nn::GenerateOptions options;
  options.sample.temperature = 0;
  options.max_new_tokens = kMaxSampleTokens;
  options.stop_ids = decoder.config().eos_token_ids;
  std::vector<std::vector<int32_t>> ids, said(prompts.size());
  for (const Prompt& prompt : prompts) ids.push_back(prompt.ids);
  RETURN_IF_ERROR(nn::GenerateAll(context, decoder, ids, options, [&](size_t text, int32_t id) {
                    said[text].push_back(id);
                    return true;
                  }).status());
  std::vector<std::string> texts;
  for (const auto& text : said) {
    texts.push_back(tokenizer.Decode(text, /*skip_special_tokens=*/true));
  }
  return texts;
}

}  // namespace lockstep
