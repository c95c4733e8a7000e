// Bytes written as characters: byte-level BPE (GPT-2) has tokens of arbitrary bytes, and writes
// each byte as a visible character of its own. Printable Latin-1 bytes stand for themselves, the
// others for U+0100 and up, in order: a space is Ġ, a newline Ċ.
#pragma once

#include <array>
#include <string>

#include "data/tokenizer/aligned_text.h"

namespace lockstep::data {

// The character of each byte; all below U+0144.
const std::array<char32_t, 256>& ByteLevelCharacters();
// The byte of a character, or -1.
int ByteLevelByte(char32_t c);

// Appends the characters of the text's bytes.
void AppendByteLevel(const AlignedView& in, AlignedText* out);
void AppendByteLevel(absl::string_view bytes, std::string* out);

}  // namespace lockstep::data
