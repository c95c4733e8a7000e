// For tests: a little tokenizer.json, byte-level, with a few merges.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "data/tokenizer/byte_level.h"
#include "data/tokenizer/unicode.h"

namespace lockstep::data {

inline nlohmann::json SmallTokenizer() {
  nlohmann::json vocab = nlohmann::json::object();
  for (const char32_t c : ByteLevelCharacters()) vocab[Utf8(c)] = vocab.size();
  nlohmann::json merges = nlohmann::json::array();
  for (const auto& [left, right] : std::vector<std::pair<std::string, std::string>>{
           {"l", "l"}, {"h", "e"}, {"he", "ll"}, {"hell", "o"}, {"Ġ", "w"}, {"o", "r"}}) {
    vocab[left + right] = vocab.size();
    merges.push_back({left, right});
  }
  const nlohmann::json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}};
  nlohmann::json added = nlohmann::json::array();
  added.push_back({{"id", vocab.size()},
                   {"content", "<|end|>"},
                   {"single_word", false},
                   {"lstrip", false},
                   {"rstrip", false},
                   {"normalized", false},
                   {"special", true}});
  return {{"version", "1.0"},
          {"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor", nullptr},
          {"decoder", byte_level},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}}};
}

}  // namespace lockstep::data
