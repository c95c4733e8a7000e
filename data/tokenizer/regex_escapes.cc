#include "data/tokenizer/regex_escapes.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "data/tokenizer/unicode.h"

namespace lockstep::data {
namespace {

bool IsHex(char c) { return absl::ascii_isxdigit(static_cast<unsigned char>(c)); }

std::optional<EscapedCharacter> Hex(absl::string_view digits, size_t size) {
  uint32_t value;
  if (!std::all_of(digits.begin(), digits.end(), IsHex)) return std::nullopt;
  if (!absl::SimpleHexAtoi(digits, &value)) return std::nullopt;
  return EscapedCharacter{value, size};
}

}  // namespace

std::optional<EscapedCharacter> ReadEscape(absl::string_view rest) {
  constexpr absl::string_view kLetters = "tnrfvae";
  constexpr char32_t kCharacters[] = U"\t\n\r\f\v\a\x1B";
  if (const size_t letter = kLetters.find(rest[0]); letter != absl::string_view::npos) {
    return EscapedCharacter{kCharacters[letter], 1};
  }
  if (!absl::ascii_isalnum(static_cast<unsigned char>(rest[0]))) {
    int length;
    const char32_t character = DecodeUtf8(rest.data(), &length);
    return EscapedCharacter{character, static_cast<size_t>(length)};
  }
  if (rest[0] == 'u' && rest.size() > 4) return Hex(rest.substr(1, 4), 5);
  if (rest[0] != 'x' || rest.size() < 2) return std::nullopt;
  if (rest[1] == '{') {
    const size_t close = rest.find('}');
    if (close == absl::string_view::npos) return std::nullopt;
    return Hex(rest.substr(2, close - 2), close + 1);
  }
  const size_t digits = rest.size() > 2 && IsHex(rest[2]) ? 2 : 1;
  return Hex(rest.substr(1, digits), 1 + digits);
}

std::optional<EscapedCharacter> ReadOctal(absl::string_view rest) {
  EscapedCharacter octal{0, 0};
  for (; octal.size < std::min<size_t>(rest.size(), 3); ++octal.size) {
    const char digit = rest[octal.size];
    if (digit < '0' || digit > '7') break;
    octal.character = octal.character * 8 + (digit - '0');
  }
  if (octal.size == 0) return std::nullopt;
  return octal;
}

}  // namespace lockstep::data
