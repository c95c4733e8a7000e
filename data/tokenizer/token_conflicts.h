// What a model's folder says of its added tokens in two ways.
#pragma once

#include <string>
#include <vector>

#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/tokenizer_config.h"

namespace lockstep::data {

// Tokens of tokenizer_config.json (its added_tokens_decoder, bos_token and eos_token) that
// tokenizer.json has not, or with other flags. transformers puts them into the tokenizer that it
// loads, so that it makes other tokens of a text than tokenizer.json says, which counts here.
std::vector<std::string> TokenConflicts(const Tokenizer& tokenizer, const TokenizerConfig& config);

}  // namespace lockstep::data
