// An added token as tokenizer.json and tokenizer_config.json describe it.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "data/tokenizer/settings.h"

namespace lockstep::data {

struct TokenDescription {
  std::string content;
  bool single_word = false;
  bool lstrip = false;
  bool rstrip = false;
  bool special = false;
  bool normalized = true;
  friend bool operator==(const TokenDescription&, const TokenDescription&) = default;
};

// {"content", and flags, which are false where they are missing; "normalized": what special is not}
absl::StatusOr<TokenDescription> ReadTokenDescription(const Settings& settings);

}  // namespace lockstep::data
