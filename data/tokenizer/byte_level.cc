#include "data/tokenizer/byte_level.h"

#include "data/tokenizer/unicode.h"

namespace lockstep::data {

const std::array<char32_t, 256>& ByteLevelCharacters() {
  static const std::array<char32_t, 256> characters = [] {
    std::array<char32_t, 256> table;
    char32_t next = 0x100;
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      table[b] = printable ? b : next++;
    }
    return table;
  }();
  return characters;
}

int ByteLevelByte(char32_t c) {
  static const std::array<int16_t, 0x144> bytes = [] {
    std::array<int16_t, 0x144> table;
    table.fill(-1);
    for (int b = 0; b < 256; ++b) table[ByteLevelCharacters()[b]] = static_cast<int16_t>(b);
    return table;
  }();
  return c < bytes.size() ? bytes[c] : -1;
}

void AppendByteLevel(const AlignedView& in, AlignedText* out) {
  for (size_t i = 0; i < in.text.size(); ++i) {
    out->Put(ByteLevelCharacters()[static_cast<unsigned char>(in.text[i])], in.Span(i, i + 1));
  }
}

void AppendByteLevel(absl::string_view bytes, std::string* out) {
  for (const char b : bytes) {
    AppendUtf8(ByteLevelCharacters()[static_cast<unsigned char>(b)], out);
  }
}

}  // namespace lockstep::data
