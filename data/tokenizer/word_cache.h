// The tokens of words seen before: a text has few different words.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace lockstep::data {

// A token of a word, and the bytes of the word that it stands for.
struct WordToken {
  int32_t id;
  uint32_t begin;
  uint32_t end;
};

// Holds up to kEntries words, then starts afresh. Not for several threads.
class WordCache {
 public:
  static constexpr size_t kMaxWordSize = 64;  // bytes; longer words do not come again

  WordCache();
  static uint64_t Hash(absl::string_view word);
  // Sets `tokens`, which are valid until the next Insert; false if the word is not there.
  bool Find(absl::string_view word, uint64_t hash, absl::Span<const WordToken>* tokens) const;
  // The word must not be there.
  void Insert(absl::string_view word, uint64_t hash, absl::Span<const WordToken> tokens);

 private:
  static constexpr size_t kEntries = 1 << 15;
  static constexpr size_t kSlots = 2 * kEntries;
  struct Slot {
    uint32_t hash;  // its upper half
    uint32_t word;
    uint32_t tokens;
    uint16_t word_size;  // 0: free
    uint16_t token_count;
  };
  std::vector<Slot> slots_;
  size_t entries_ = 0;
  std::string words_;
  std::vector<WordToken> tokens_;
};

}  // namespace lockstep::data
