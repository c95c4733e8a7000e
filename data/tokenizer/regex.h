// Regular expressions as tokenizer.json files have them.
//
// Files are written for Oniguruma with Ruby's syntax. They are translated to PCRE2 (regex_syntax.h)
// and compiled just in time.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/tokenizer/pieces.h"

namespace lockstep::data {

class Regex {
 public:
  // Errors: a construct that cannot be translated, or that PCRE2 refuses (with the place in the
  // pattern).
  static absl::StatusOr<std::unique_ptr<const Regex>> Compile(absl::string_view pattern);
  // Matches the text itself.
  static std::unique_ptr<const Regex> Literal(absl::string_view text);
  virtual ~Regex() = default;

  // The stretches of `text` (valid UTF-8): all matches from left to right, which do not overlap, as
  // delimiters, and what lies between them. An empty match is a delimiter of no length, but not
  // right behind another match; an empty text has none. Error: the pattern needs too many steps on
  // this text.
  virtual absl::Status FindAll(absl::string_view text, std::vector<Match>* matches) const = 0;
};

}  // namespace lockstep::data
