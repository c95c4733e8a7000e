// Vocabulary and merges of a BPE model as one block of bytes without pointers: it is built once
// from tokenizer.json, and can be written to a file and mapped (model_cache.h).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/file.h"

namespace lockstep::data {

struct Merge {
  uint32_t rank;  // lower ones go first
  int32_t id;     // of the merged token
};

class ModelTables {
 public:
  static constexpr int32_t kNone = -1;
  static constexpr int64_t kMaxId = (1 << 24) - 1;

  struct Source {
    std::vector<std::pair<absl::string_view, int32_t>> vocab;  // of equal tokens the last counts
    // By rank: left, right. Of equal pairs the last counts.
    std::vector<std::pair<absl::string_view, absl::string_view>> merges;
    // Cut off from the right token when the merged one is looked up: the length in bytes of
    // continuing_subword_prefix.
    size_t prefix_size = 0;
    absl::string_view unk_token;
    // The rest of tokenizer.json, kept for whoever loads the tables.
    absl::string_view settings;
    // Identifies tokenizer.json; 32 characters.
    absl::string_view fingerprint;
  };
  // Error: a merge of tokens that are not in the vocabulary; `file` is named.
  static absl::StatusOr<std::unique_ptr<const ModelTables>> Build(const Source& source,
                                                                  absl::string_view file);
  // Null if the block is torn, of another version, or not of `fingerprint`.
  static std::unique_ptr<const ModelTables> FromFile(std::shared_ptr<const MappedFile> file,
                                                     absl::string_view fingerprint);

  // Id of a token, or kNone.
  int32_t Find(absl::string_view token) const;
  // Id of the token of one character, or kNone.
  int32_t FindCharacter(char32_t c) const;
  // The token's text; null data if no token has the id.
  absl::string_view Text(int32_t id) const;
  const Merge* FindMerge(int32_t left, int32_t right) const;
  // False only if no merge joins a token that ends in character a with one that begins with b. Then
  // no token reaches over such a place between two characters of the vocabulary, and a text may be
  // cut there: if joins_by_character(), which excepts models with a continuing_subword_prefix, with
  // merges of byte or unknown tokens, or with two tokens of one id.
  bool MayJoin(char32_t a, char32_t b) const;
  bool joins_by_character() const;

  int32_t id_limit() const;    // one more than the largest id
  int32_t num_tokens() const;  // different tokens in the vocabulary
  absl::string_view settings() const;
  absl::string_view fingerprint() const;
  absl::string_view block() const { return block_; }

 private:
  struct Header;
  struct MergeSlot;
  struct Entry;
  ModelTables() = default;
  void SetBlock(absl::string_view block);
  void FillVocabulary(const Source& source);
  absl::Status FillMerges(const Source& source, absl::string_view file);
  const Header& header() const;
  absl::string_view EntryText(int32_t entry) const;

  std::string owned_;
  std::shared_ptr<const MappedFile> file_;
  absl::string_view block_;
  // Parts of the block.
  const Entry* entries_ = nullptr;
  const int32_t* by_id_ = nullptr;
  const uint64_t* token_slots_ = nullptr;
  const MergeSlot* merge_slots_ = nullptr;
  const int32_t* characters_ = nullptr;
  const uint64_t* joins_ = nullptr;
  const char* pool_ = nullptr;
};

}  // namespace lockstep::data
