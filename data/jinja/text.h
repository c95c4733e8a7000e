// Python's str on UTF-8: what its methods need of Unicode (ICU's tables).
// Strings are valid UTF-8; a stray byte counts as one character of its own.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "base/utf8.h"  // IWYU pragma: export

namespace lockstep::data::jinja {

// The code point at text[*at], which moves behind it.
char32_t NextCodePoint(absl::string_view text, size_t* at);

int64_t CountCodePoints(absl::string_view text);
std::u32string Decode(absl::string_view text);
std::string Encode(std::u32string_view text);

// Byte offset of code point `index` (at most the length).
size_t ByteOffset(absl::string_view text, int64_t index);

bool IsSpace(char32_t code);      // str.isspace
bool IsPrintable(char32_t code);  // str.isprintable
bool IsDecimal(char32_t code);
bool IsDigit(char32_t code);
bool IsNumeric(char32_t code);
bool IsAlpha(char32_t code);
bool IsUpper(char32_t code);
bool IsLower(char32_t code);
bool IsTitle(char32_t code);
bool IsWord(char32_t code);                 // \w of a regular expression
bool IsIdentifier(absl::string_view text);  // str.isidentifier
int DecimalValue(char32_t code);            // of a decimal digit of any script, or −1
// "N{BULLET}", as it stands behind a backslash: by its Unicode name.
std::optional<char32_t> CharacterOfName(absl::string_view escape);

std::string Lower(absl::string_view text);
std::string Upper(absl::string_view text);
std::string CaseFold(absl::string_view text);
std::string Capitalize(absl::string_view text);
std::string TitleCase(absl::string_view text);  // str.title
std::string SwapCase(absl::string_view text);

enum Sides { kLeft = 1, kRight = 2, kBoth = 3 };
absl::string_view StripSpace(absl::string_view text, Sides sides);
// Strips the characters that `characters` holds.
absl::string_view StripCharacters(absl::string_view text, absl::string_view characters,
                                  Sides sides);

// str.split() and str.rsplit() without a separator; limit −1: none.
std::vector<absl::string_view> SplitSpace(absl::string_view text, int64_t limit, bool from_right);
// … with one (not empty).
std::vector<absl::string_view> SplitAt(absl::string_view text, absl::string_view separator,
                                       int64_t limit, bool from_right);
std::vector<absl::string_view> SplitLines(absl::string_view text, bool keep_ends);

// str.replace; limit −1: all.
std::string ReplaceAll(absl::string_view text, absl::string_view old, absl::string_view with,
                       int64_t limit);

// & < > ' " as MarkupSafe escapes them.
std::string EscapeHtml(absl::string_view text);

// "\r\n" and "\r" to "\n".
std::string NormalizeNewlines(absl::string_view text);

}  // namespace lockstep::data::jinja
