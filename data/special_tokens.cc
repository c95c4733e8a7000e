#include "data/special_tokens.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "data/jinja/text.h"
#include "data/tokenizer/tokenizer.h"

namespace lockstep::data {

SpecialTokens::SpecialTokens(const Tokenizer* tokenizer) {
  if (tokenizer == nullptr) return;
  for (std::string& text : tokenizer->SpecialTexts()) {
    by_first_[static_cast<unsigned char>(text.front())].push_back(std::move(text));
  }
  for (std::vector<std::string>& texts : by_first_) {
    std::sort(texts.begin(), texts.end(),
              [](const auto& a, const auto& b) { return a.size() > b.size(); });
  }
}

size_t SpecialTokens::LengthAt(absl::string_view text, size_t at) const {
  for (const std::string& token : by_first_[static_cast<unsigned char>(text[at])]) {
    if (absl::StartsWith(text.substr(at), token)) return token.size();
  }
  return 0;
}

bool SpecialTokens::Occurs(absl::string_view text) const {
  for (size_t at = 0; at < text.size(); ++at) {
    if (LengthAt(text, at) > 0) return true;
  }
  return false;
}

std::optional<int64_t> SpecialTokens::ClosingToken(absl::string_view text, int64_t begin,
                                                   int64_t end) const {
  constexpr int64_t kLongestToken = 256;
  const absl::string_view turn = text.substr(begin, end - begin);
  const int64_t size = static_cast<int64_t>(jinja::StripSpace(turn, jinja::kRight).size());
  for (int64_t at = size - 1; at >= 0 && size - at <= kLongestToken; --at) {
    const int64_t token = static_cast<int64_t>(LengthAt(turn, at));
    if (token > 0 && at + token >= size) return begin + at + token;
  }
  return std::nullopt;
}

int64_t SpecialTokens::TurnEnd(absl::string_view text, int64_t begin, int64_t end) const {
  const absl::string_view turn = text.substr(begin, end - begin);
  return ClosingToken(text, begin, end)
      .value_or(begin + static_cast<int64_t>(jinja::StripSpace(turn, jinja::kRight).size()));
}

}  // namespace lockstep::data
