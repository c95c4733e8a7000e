// The texts of a tokenizer's special tokens, to look for in a text.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace lockstep::data {

class Tokenizer;

class SpecialTokens {
 public:
  explicit SpecialTokens(const Tokenizer* tokenizer);  // null: there are none

  // True if the text of a token with "special": true is in the text.
  bool Occurs(absl::string_view text) const;

  // The length of the special token that begins at text[at], or 0.
  size_t LengthAt(absl::string_view text, size_t at) const;

  // The end of the special token in text [begin, end) that nothing but white space follows.
  std::optional<int64_t> ClosingToken(absl::string_view text, int64_t begin, int64_t end) const;

  // That, or where the white space at the end of text [begin, end) begins.
  int64_t TurnEnd(absl::string_view text, int64_t begin, int64_t end) const;

 private:
  std::array<std::vector<std::string>, 256> by_first_;  // by their first byte, longest first
};

}  // namespace lockstep::data
