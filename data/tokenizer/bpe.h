// Byte-pair encoding of one word (Sennrich et al. 2016, arXiv:1508.07909): the word's characters
// are its first symbols; then, as long as there is one, the neighboring pair whose merge has the
// lowest rank becomes one symbol, the leftmost of equals first.
//
// Characters that the vocabulary lacks: with byte_fallback the tokens <0xHH> of their bytes, if all
// are there; else unk_token, one for a run of them with fuse_unk; without unk_token nothing.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/tokenizer/model_tables.h"
#include "data/tokenizer/settings.h"
#include "data/tokenizer/word_cache.h"

namespace lockstep::data {

struct BpeOptions {
  std::string unk_token;  // empty: none
  // Put before every character's text but the first of a word, and behind the last's, to find its
  // symbol.
  std::string continuing_subword_prefix;
  std::string end_of_word_suffix;
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;  // a word that is a token is that token
  bool byte_level = false;     // words are bytes, each of which is written as byte_level.h has it
};

// From "model" of tokenizer.json, less vocab and merges. Error: dropout.
absl::StatusOr<BpeOptions> ReadBpeOptions(const Settings& model);

// What one thread needs beside the model.
class BpeWorkspace {
 private:
  friend class Bpe;
  struct Symbol {
    int32_t id;
    uint32_t begin;  // bytes of the word
    uint32_t end;
    int32_t previous;  // indices; -1: none
    int32_t next;
  };
  struct Candidate {
    uint32_t rank;
    int32_t position;
    int32_t id;
  };
  WordCache cache_;
  std::vector<Symbol> symbols_;
  std::vector<Candidate> candidates_;  // a heap
  std::vector<const Merge*> merges_;
  std::string text_;
};

class Bpe {
 public:
  // `tables` must outlive the object.
  Bpe(const ModelTables& tables, BpeOptions options);

  // Appends the tokens of `word`, which is not empty, with their bytes in it. Error: a character
  // needs an unk_token that is not in the vocabulary.
  absl::Status Encode(absl::string_view word, BpeWorkspace* workspace,
                      std::vector<WordToken>* tokens) const;

 private:
  using Symbol = BpeWorkspace::Symbol;
  absl::Status EncodeLong(absl::string_view word, BpeWorkspace* workspace,
                          std::vector<WordToken>* tokens) const;
  absl::Status EncodeCached(absl::string_view word, BpeWorkspace* workspace,
                            std::vector<WordToken>* tokens) const;
  absl::Status EncodeNew(absl::string_view word, BpeWorkspace* workspace,
                         std::vector<WordToken>* tokens) const;
  int32_t FindWord(absl::string_view word, BpeWorkspace* workspace) const;
  absl::Status MakeSymbols(absl::string_view word, BpeWorkspace* workspace) const;
  int32_t FindSymbol(char32_t c, bool first, bool last, std::string* text) const;
  bool AddBytes(absl::string_view text, uint32_t begin, uint32_t end,
                std::vector<Symbol>* symbols) const;
  void MergeFew(BpeWorkspace* workspace) const;
  void MergeMany(BpeWorkspace* workspace) const;
  char32_t CharacterAt(absl::string_view word, size_t at, int* length) const;

  const ModelTables& tables_;
  const BpeOptions options_;
  const bool cuts_long_words_;
  int32_t unk_id_ = ModelTables::kNone;
  std::array<int32_t, 256> byte_tokens_;   // of <0xHH>
  std::array<int32_t, 256> byte_symbols_;  // of bytes as characters
};

}  // namespace lockstep::data
