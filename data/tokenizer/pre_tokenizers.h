// Pre-tokenizers: cut the document into words; tokens never reach over a cut.
//
//   Split            pattern {"String"|"Regex"}, behavior, invert
//   ByteLevel        GPT-2's expression (use_regex), a space in front (add_prefix_space), and every
//                    byte written as a character (byte_level.h)
//   Metaspace        spaces become `replacement`, one is put in front (prepend_scheme: always,
//                    first = only at the document's begin, never), a word begins at each (split)
//   Digits           numbers; individual_digits: each digit
//   Punctuation      behavior
//   Whitespace       words \w+ and runs of other characters; White_Space is dropped
//   WhitespaceSplit  what lies between White_Space
//   BertPreTokenizer WhitespaceSplit, then each punctuation character alone
//   CharDelimiterSplit, FixedLength
//   Sequence         `pretokenizers`, one after the other
#pragma once

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/tokenizer/pieces.h"
#include "data/tokenizer/settings.h"

namespace lockstep::data {

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual absl::Status Apply(Pieces* pieces) const = 0;
  // Changes the text, not only its cuts.
  virtual bool rewrites() const { return false; }
  // Asks where in the input a piece begins.
  virtual bool needs_input_begin() const { return false; }
};

struct PreTokenizers {
  std::vector<std::unique_ptr<const PreTokenizer>> steps;
  // The last step writes bytes as characters. It is left to the model, which then has to do it for
  // words that it sees for the first time only; it is not among `steps`.
  bool byte_level = false;

  absl::Status Apply(Pieces* pieces) const;
};

absl::StatusOr<PreTokenizers> MakePreTokenizers(const Settings& settings);

}  // namespace lockstep::data
