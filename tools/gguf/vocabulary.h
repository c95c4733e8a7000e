// A Hugging Face tokenizer as llama.cpp keeps it: the keys tokenizer.* of a GGUF file.
//
// Two kinds are known there: byte-level BPE ("gpt2", tokens and merges, with a name for the
// expressions that cut words) and SentencePiece-like BPE with byte fallback ("llama", tokens and
// scores; a token's score is minus the rank of the merge that makes it, so that the best score
// first is the lowest rank first).
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "nn/config.h"
#include "tools/gguf/gguf_writer.h"

namespace lockstep {

// Reads `folder`'s tokenizer.json and tokenizer_config.json. Errors: a tokenizer that has no
// counterpart, by its component. `warnings`: what llama.cpp may do differently.
absl::Status SetVocabulary(const std::string& folder, const nn::ModelConfig& config,
                           GgufWriter& writer, std::vector<std::string>* warnings);

}  // namespace lockstep
