// Normalizers: what is done to a text before it is cut into words.
//
//   NFC NFD NFKC NFKD      Unicode normalization (of Unicode 9: later characters stay as they are)
//   Lowercase              each character's lower case, without regard to its neighbors
//   Strip                  White_Space at the ends: strip_left, strip_right
//   StripAccents           drops combining marks (decomposes nothing)
//   Replace                pattern {"String"|"Regex"}, content
//   Prepend                puts `prepend` before a text that is not empty
//   ByteLevel              writes each byte as a character, see byte_level.h
//   BertNormalizer, Nmt    cleaning as the models of these names had it
//   Sequence               `normalizers`, one after the other
//
// A piece between added tokens is normalized by itself.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/tokenizer/aligned_text.h"
#include "data/tokenizer/settings.h"

namespace lockstep::data {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  // Appends the normalized `in` to `out`. Error: a regular expression that takes too many steps.
  virtual absl::Status Normalize(const AlignedView& in, AlignedText* out) const = 0;
  // True if Normalize is known to leave this text as it is.
  virtual bool Keeps(absl::string_view text) const { return false; }
};

absl::StatusOr<std::unique_ptr<const Normalizer>> MakeNormalizer(const Settings& settings);

// The normalized form of a text.
absl::StatusOr<std::string> NormalizeString(const Normalizer& normalizer, absl::string_view text);

}  // namespace lockstep::data
