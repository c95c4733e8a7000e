#include "data/tokenizer/added_tokens.h"

#include <algorithm>

#include "base/status.h"
#include "data/tokenizer/unicode.h"

namespace lockstep::data {
namespace {

bool IsWordBefore(absl::string_view text, size_t at) {
  int length;
  return at > 0 && IsWordCharacter(DecodeUtf8Before(text.data() + at, &length));
}

bool IsWordAt(absl::string_view text, size_t at) {
  int length;
  return at < text.size() && IsWordCharacter(DecodeUtf8(text.data() + at, &length));
}

size_t WhiteSpaceBegin(absl::string_view text, size_t end) {
  int length;
  while (end > 0 && IsWhiteSpace(DecodeUtf8Before(text.data() + end, &length))) end -= length;
  return end;
}

size_t WhiteSpaceEnd(absl::string_view text, size_t begin) {
  int length;
  while (begin < text.size() && IsWhiteSpace(DecodeUtf8(text.data() + begin, &length))) {
    begin += length;
  }
  return begin;
}

}  // namespace

TextTrie::TextTrie() : nodes_(1), first_(256) {}

void TextTrie::Add(absl::string_view text, int32_t value) {
  if (text.empty()) return;
  first_[static_cast<unsigned char>(text[0])] = true;
  int32_t node = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    auto& children = nodes_[node].children;
    const auto place = std::lower_bound(children.begin(), children.end(), std::pair(byte, 0));
    if (place != children.end() && place->first == byte) {
      node = place->second;
    } else {
      const int32_t child = static_cast<int32_t>(nodes_.size());
      children.insert(place, {byte, child});
      nodes_.emplace_back();
      node = child;
    }
  }
  if (nodes_[node].value < 0) nodes_[node].value = value;
}

int32_t TextTrie::Longest(absl::string_view text, size_t at, size_t* end) const {
  int32_t found = -1;
  int32_t node = 0;
  for (size_t i = at; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto& children = nodes_[node].children;
    const auto place = std::lower_bound(children.begin(), children.end(), std::pair(byte, 0));
    if (place == children.end() || place->first != byte) break;
    node = place->second;
    if (nodes_[node].value >= 0) {
      found = nodes_[node].value;
      *end = i + 1;
    }
  }
  return found;
}

absl::StatusOr<AddedTokens> AddedTokens::Make(const std::optional<Settings>& settings,
                                              const ModelTables& tables,
                                              const Normalizer* normalizer) {
  AddedTokens added;
  if (!settings) return added;
  ASSIGN_OR_RETURN(const std::vector<Settings> elements, settings->Elements());
  int32_t next_id = tables.num_tokens();
  for (const Settings& element : elements) {
    AddedToken token;
    ASSIGN_OR_RETURN(static_cast<TokenDescription&>(token), ReadTokenDescription(element));
    if (token.content.empty()) continue;
    token.normalized_content = token.content;
    if (token.normalized && normalizer != nullptr) {
      ASSIGN_OR_RETURN(token.normalized_content, NormalizeString(*normalizer, token.content));
    }
    const AddedToken* same = added.Find(token.content);
    const int32_t in_vocabulary = tables.Find(token.content);
    token.id = same != nullptr                       ? same->id
               : in_vocabulary != ModelTables::kNone ? in_vocabulary
                                                     : next_id++;
    if (token.id > ModelTables::kMaxId) return element.Error("there are too many tokens");
    if (token.special) added.special_.insert(token.content);
    added.id_limit_ = std::max(added.id_limit_, token.id + 1);
    const int32_t index = static_cast<int32_t>(added.tokens_.size());
    added.by_content_[token.content] = index;
    added.by_id_[token.id] = index;
    added.tokens_.push_back(std::move(token));
  }
  for (size_t i = 0; i < added.tokens_.size(); ++i) {
    const AddedToken& token = added.tokens_[i];
    const int32_t index = static_cast<int32_t>(i);
    if (added.by_id_[token.id] != index) continue;  // a later entry has replaced it
    // Of two that are the same when normalized the first counts; what is empty then matches
    // nothing.
    (token.normalized ? added.normalized_ : added.raw_).Add(token.normalized_content, index);
  }
  return added;
}

absl::Status AddedTokens::Cut(const TextTrie& trie, Pieces* pieces) const {
  if (trie.empty()) return absl::OkStatus();
  return pieces->Cut([&](const Piece& piece, std::vector<Piece>* cut) {
    CutPiece(trie, piece, pieces->View(piece).text, cut);
    return absl::OkStatus();
  });
}

void AddedTokens::CutPiece(const TextTrie& trie, const Piece& piece, absl::string_view text,
                           std::vector<Piece>* cut) const {
  const auto add = [&](size_t begin, size_t end, int32_t token) {
    cut->push_back({piece.begin + static_cast<uint32_t>(begin),
                    piece.begin + static_cast<uint32_t>(end), token});
  };
  size_t last = 0;
  for (size_t i = 0; i < text.size();) {
    size_t end = 0;
    const int32_t index = trie.StartsHere(text[i]) ? trie.Longest(text, i, &end) : -1;
    if (index < 0) {
      ++i;
      continue;
    }
    size_t begin = i;
    i = end;
    const AddedToken& token = tokens_[index];
    if (token.single_word && (IsWordBefore(text, begin) || IsWordAt(text, end))) continue;
    // White space that an earlier token has taken stays with it.
    if (token.lstrip) begin = std::max(WhiteSpaceBegin(text, begin), last);
    if (token.rstrip) end = WhiteSpaceEnd(text, end);
    if (last < begin) add(last, begin, Piece::kText);
    if (begin < end) add(begin, end, token.id);
    last = std::max(begin, end);
  }
  if (last < text.size()) add(last, text.size(), Piece::kText);
}

const AddedToken* AddedTokens::Find(int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::Find(absl::string_view content) const {
  const auto found = by_content_.find(content);
  return found == by_content_.end() ? nullptr : &tokens_[found->second];
}

bool AddedTokens::IsSpecialContent(absl::string_view content) const {
  return special_.contains(content);
}

std::vector<std::string> AddedTokens::SpecialContents() const {
  return {special_.begin(), special_.end()};
}

}  // namespace lockstep::data
