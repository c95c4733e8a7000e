// Token ids to text, one id at a time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/tokenizer/tokenizer.h"

namespace lockstep::data {

// Gives out text as soon as it is certain; never a part of a character. The pieces together are
// what Decode gives for all ids (see the .cc for the one kind of decoder where they may differ).
class StreamDecoder {
 public:
  // `tokenizer` must outlive the decoder.
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
      : tokenizer_(tokenizer), skip_special_tokens_(skip_special_tokens) {}

  // The text that `id` completes: often empty in the midst of a character.
  std::string Push(int32_t id);
  // What is held back, with U+FFFD for incomplete characters. The decoder is then as new.
  std::string Finish();

 private:
  const Tokenizer& tokenizer_;
  const bool skip_special_tokens_;
  // The ids behind `given_` and those whose text is not yet given out: context, then news.
  std::vector<int32_t> ids_;
  size_t context_ = 0;  // how many of ids_ are context
  std::string given_;   // Decode of the context
};

}  // namespace lockstep::data
