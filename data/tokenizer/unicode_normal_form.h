// Unicode's normal forms (UAX #15) of Unicode 9, by ICU.
#pragma once

#include "data/tokenizer/aligned_text.h"

namespace lockstep::data {

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };

// True if NormalizeUnicode changes nothing; it may be false for a text with newer characters all
// the same.
bool IsNormalized(UnicodeForm form, absl::string_view text);

// Appends the normal form of `in`. Characters that are newer than Unicode 9 are left alone, as the
// tokenizers that were trained with these forms left them.
void NormalizeUnicode(UnicodeForm form, const AlignedView& in, AlignedText* out);

}  // namespace lockstep::data
