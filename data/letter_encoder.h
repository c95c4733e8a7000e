// For tests: one token a character. A document supervises what follows its first '>'; the text
// "bad" is refused.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "data/encode.h"

namespace lockstep::data {

class LetterEncoder : public DocumentEncoder {
 public:
  absl::StatusOr<std::vector<EncodedDocument>> Encode(const Example& example) const override {
    const std::string& text = std::get<TextExample>(example.content).text;
    if (text == "bad") {
      return absl::InvalidArgumentError(
          absl::StrCat("[", example.source.file, ":", example.source.line, "] it is bad"));
    }
    EncodedDocument document;
    bool supervised = false;
    for (const char c : text) {
      document.input_ids.push_back(static_cast<unsigned char>(c));
      document.supervised.push_back(supervised);
      supervised = supervised || c == '>';
    }
    return std::vector<EncodedDocument>{document};
  }
  absl::StatusOr<std::string> Render(const ChatExample&, bool) const override { return ""; }
  bool has_chat_template() const override { return false; }
  std::string Fingerprint() const override { return "letters"; }
};

}  // namespace lockstep::data
