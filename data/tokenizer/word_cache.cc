#include "data/tokenizer/word_cache.h"

#include <algorithm>
#include <cstring>

#include "base/hash.h"

namespace lockstep::data {

WordCache::WordCache() : slots_(kSlots) {}

uint64_t WordCache::Hash(absl::string_view word) { return Hash64(word); }

bool WordCache::Find(absl::string_view word, uint64_t hash,
                     absl::Span<const WordToken>* tokens) const {
  const uint32_t upper = static_cast<uint32_t>(hash >> 32);
  for (size_t i = hash % kSlots; slots_[i].word_size != 0; i = (i + 1) % kSlots) {
    const Slot& slot = slots_[i];
    if (slot.hash == upper && slot.word_size == word.size() &&
        std::memcmp(words_.data() + slot.word, word.data(), word.size()) == 0) {
      *tokens = {tokens_.data() + slot.tokens, slot.token_count};
      return true;
    }
  }
  return false;
}

void WordCache::Insert(absl::string_view word, uint64_t hash, absl::Span<const WordToken> tokens) {
  if (entries_ == kEntries) {
    std::fill(slots_.begin(), slots_.end(), Slot{});
    words_.clear();
    tokens_.clear();
    entries_ = 0;
  }
  size_t i = hash % kSlots;
  while (slots_[i].word_size != 0) i = (i + 1) % kSlots;
  slots_[i] = {static_cast<uint32_t>(hash >> 32), static_cast<uint32_t>(words_.size()),
               static_cast<uint32_t>(tokens_.size()), static_cast<uint16_t>(word.size()),
               static_cast<uint16_t>(tokens.size())};
  words_.append(word.data(), word.size());
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  ++entries_;
}

}  // namespace lockstep::data
