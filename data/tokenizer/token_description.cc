#include "data/tokenizer/token_description.h"

#include "base/status.h"

namespace lockstep::data {

absl::StatusOr<TokenDescription> ReadTokenDescription(const Settings& settings) {
  TokenDescription token;
  ASSIGN_OR_RETURN(token.content, settings.String("content"));
  ASSIGN_OR_RETURN(token.single_word, settings.Bool("single_word", false));
  ASSIGN_OR_RETURN(token.lstrip, settings.Bool("lstrip", false));
  ASSIGN_OR_RETURN(token.rstrip, settings.Bool("rstrip", false));
  ASSIGN_OR_RETURN(token.special, settings.Bool("special", false));
  ASSIGN_OR_RETURN(token.normalized, settings.Bool("normalized", !token.special));
  return token;
}

}  // namespace lockstep::data
