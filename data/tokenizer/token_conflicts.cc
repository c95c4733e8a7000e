#include "data/tokenizer/token_conflicts.h"

#include <algorithm>
#include <optional>

#include "data/tokenizer/token_description.h"

namespace lockstep::data {

std::vector<std::string> TokenConflicts(const Tokenizer& tokenizer, const TokenizerConfig& config) {
  std::vector<std::string> conflicts;
  for (const TokenDescription& token : config.added_tokens) {
    const TokenDescription* own = tokenizer.FindAdded(token.content);
    if (own == nullptr || *own != token) conflicts.push_back(token.content);
  }
  for (const std::optional<std::string>& token : {config.bos_token, config.eos_token}) {
    const bool is_known = !token || tokenizer.TokenToId(*token) ||
                          std::count(conflicts.begin(), conflicts.end(), *token) > 0;
    if (!is_known) conflicts.push_back(*token);
  }
  return conflicts;
}

}  // namespace lockstep::data
