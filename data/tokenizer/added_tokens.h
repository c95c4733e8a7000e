// Added tokens: pieces of text that are a token as they stand, before the model sees anything.
//
// Those with "normalized": false are looked for in the raw text, the others, in their normalized
// form, in the normalized text of what is left. From left to right the longest match counts. lstrip
// and rstrip take the White_Space around into the match; a single_word match counts only between
// characters that are no part of a word.
//
// Ids: a content that is in the vocabulary has its id there; others follow the vocabulary (the
// number of its tokens) in the order of the file. This is how the `tokenizers` library reads a
// file; the "id" written there is not looked at.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/tokenizer/model_tables.h"
#include "data/tokenizer/normalizers.h"
#include "data/tokenizer/pieces.h"
#include "data/tokenizer/settings.h"
#include "data/tokenizer/token_description.h"

namespace lockstep::data {

struct AddedToken : TokenDescription {
  int32_t id = 0;
  std::string normalized_content;  // content, where "normalized" is false
};

// Finds the longest of some texts at a place.
class TextTrie {
 public:
  TextTrie();
  // Does nothing if the text is empty or is there already.
  void Add(absl::string_view text, int32_t value);
  // The value of the longest text that begins at `at`, or -1; sets `end`.
  int32_t Longest(absl::string_view text, size_t at, size_t* end) const;
  bool StartsHere(char c) const { return first_[static_cast<unsigned char>(c)]; }
  bool empty() const { return nodes_.size() == 1; }

 private:
  struct Node {
    int32_t value = -1;
    std::vector<std::pair<unsigned char, int32_t>> children;  // by byte
  };
  std::vector<Node> nodes_;  // 0 is the root
  std::vector<bool> first_;
};

class AddedTokens {
 public:
  // `settings`: the list added_tokens, or none. `normalizer` may be null.
  static absl::StatusOr<AddedTokens> Make(const std::optional<Settings>& settings,
                                          const ModelTables& tables, const Normalizer* normalizer);

  // Cut the added tokens out of the text pieces.
  absl::Status CutRaw(Pieces* pieces) const { return Cut(raw_, pieces); }
  absl::Status CutNormalized(Pieces* pieces) const { return Cut(normalized_, pieces); }

  // Null if no added token has the id or the content.
  const AddedToken* Find(int32_t id) const;
  const AddedToken* Find(absl::string_view content) const;
  bool IsSpecialContent(absl::string_view content) const;
  std::vector<std::string> SpecialContents() const;
  int32_t id_limit() const { return id_limit_; }

 private:
  absl::Status Cut(const TextTrie& trie, Pieces* pieces) const;
  void CutPiece(const TextTrie& trie, const Piece& piece, absl::string_view text,
                std::vector<Piece>* cut) const;

  std::vector<AddedToken> tokens_;
  absl::flat_hash_map<int32_t, int32_t> by_id_;  // to indices of tokens_
  absl::flat_hash_map<std::string, int32_t> by_content_;
  absl::flat_hash_set<std::string> special_;
  TextTrie raw_, normalized_;  // values are indices
  int32_t id_limit_ = 0;
};

}  // namespace lockstep::data
