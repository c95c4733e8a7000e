// UTF-8, and the character classes that tokenizers are defined with.
//
// Classes are those of Unicode 16 (ICU 72 knows 15.0; unicode_data.cc adds what is newer), but for
// the components whose definition stands still: see the functions that name an older version.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"
#include "base/utf8.h"  // IWYU pragma: export

namespace lockstep::data {

// The character at `p` of valid UTF-8, and its length in bytes.
inline char32_t DecodeUtf8(const char* p, int* length) {
  const auto b = [p](int i) { return static_cast<unsigned char>(p[i]); };
  if (b(0) < 0x80) return *length = 1, b(0);
  if (b(0) < 0xE0) return *length = 2, (b(0) & 0x1F) << 6 | (b(1) & 0x3F);
  if (b(0) < 0xF0) return *length = 3, (b(0) & 0xF) << 12 | (b(1) & 0x3F) << 6 | (b(2) & 0x3F);
  return *length = 4, (b(0) & 7) << 18 | (b(1) & 0x3F) << 12 | (b(2) & 0x3F) << 6 | (b(3) & 0x3F);
}

// The character that ends at `end` (exclusive) of valid UTF-8.
char32_t DecodeUtf8Before(const char* end, int* length);

std::string Utf8(char32_t c);

// Length of the longest valid prefix: text.size() if all of it is valid UTF-8.
size_t ValidUtf8Length(absl::string_view text);

// Every maximal ill-formed part becomes one U+FFFD (the Unicode standard's recommendation).
std::string ReplaceInvalidUtf8(absl::string_view bytes);

// The general category as ICU's UCharCategory, of Unicode 16.
int GeneralCategory(char32_t c);
// True if the regular expression engine's tables (Unicode 14) do not know c but Unicode 16 does.
bool IsNewerThanPcre2(char32_t c);
// Calls use(first, last) for every such range with the category `name`: "L", "Lu", "N", …
template <typename Use>
void ForEachNewRange(absl::string_view name, Use use);

bool IsWhiteSpace(char32_t c);            // the property White_Space
bool IsNumeric(char32_t c);               // N*, of Unicode 17
bool IsWordCharacter(char32_t c);         // Alphabetic, M, Nd, Pc, Join_Control: \w of UTS #18
bool IsPunctuation(char32_t c);           // P* of Unicode 8, or ASCII punctuation and symbols
bool IsNonspacingMark(char32_t c);        // Mn of Unicode 8
bool IsCombiningMark(char32_t c);         // M* of Unicode 9
bool IsControlOrFormat(char32_t c);       // Cc, Cf, Co, Cs of Unicode 8
char32_t LowercaseCharacter(char32_t c);  // simple mapping, of Unicode 17
int Script(char32_t c);                   // ICU's UScriptCode, of Unicode 9; −1: in none

// One range of unicode_data.cc.
struct UnicodeRange {
  char32_t first;
  char32_t last;
  char category[3];
};
extern const UnicodeRange kUnicode15And16[];
extern const size_t kUnicode15And16Size;

template <typename Use>
void ForEachNewRange(absl::string_view name, Use use) {
  for (size_t i = 0; i < kUnicode15And16Size; ++i) {
    const UnicodeRange& range = kUnicode15And16[i];
    if (absl::string_view(range.category, name.size()) == name) use(range.first, range.last);
  }
}

}  // namespace lockstep::data
