#include "data/jinja/text.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/strip.h"
#include "data/jinja/value.h"

namespace lockstep::data::jinja {

char32_t NextCodePoint(absl::string_view text, size_t* at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte((*at)++);
  if (first < 0x80) return first;
  int more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : first >= 0xC0 ? 1 : 0;
  if (more == 0 || *at + more > text.size()) return 0xFFFD;
  char32_t code = first & (0x3F >> more);
  for (; more > 0; --more) code = (code << 6) | (byte((*at)++) & 0x3F);
  return code;
}

int64_t CountCodePoints(absl::string_view text) {
  constexpr uint64_t kNotAscii = 0x8080808080808080;
  int64_t count = 0;
  for (size_t at = 0; at < text.size();) {
    uint64_t eight = kNotAscii;
    if (at + 8 <= text.size()) std::memcpy(&eight, text.data() + at, 8);
    if ((eight & kNotAscii) == 0) {
      at += 8;
      count += 8;
    } else {
      NextCodePoint(text, &at);
      ++count;
    }
  }
  return count;
}

std::u32string Decode(absl::string_view text) {
  std::u32string out;
  for (size_t at = 0; at < text.size();) out.push_back(NextCodePoint(text, &at));
  return out;
}

std::string Encode(std::u32string_view text) {
  std::string out;
  for (const char32_t code : text) AppendUtf8(code, &out);
  return out;
}

size_t ByteOffset(absl::string_view text, int64_t index) {
  size_t at = 0;
  for (; index > 0 && at < text.size(); --index) NextCodePoint(text, &at);
  return at;
}

bool IsSpace(char32_t code) {
  return (code >= 9 && code <= 13) || (code >= 0x1C && code <= 0x20) || code == 0x85 ||
         (code >= 0x80 && u_charType(code) == U_SPACE_SEPARATOR) || code == 0x2028 ||
         code == 0x2029;
}

bool IsPrintable(char32_t code) {
  if (code == ' ') return true;
  switch (u_charType(code)) {
    case U_CONTROL_CHAR:
    case U_FORMAT_CHAR:
    case U_SURROGATE:
    case U_PRIVATE_USE_CHAR:
    case U_UNASSIGNED:
    case U_LINE_SEPARATOR:
    case U_PARAGRAPH_SEPARATOR:
    case U_SPACE_SEPARATOR:
      return false;
    default:
      return true;
  }
}

bool IsDecimal(char32_t code) { return u_charType(code) == U_DECIMAL_DIGIT_NUMBER; }
bool IsDigit(char32_t code) {
  const int type = u_getIntPropertyValue(code, UCHAR_NUMERIC_TYPE);
  return type == U_NT_DECIMAL || type == U_NT_DIGIT;
}
bool IsNumeric(char32_t code) {
  return u_getIntPropertyValue(code, UCHAR_NUMERIC_TYPE) != U_NT_NONE;
}
bool IsAlpha(char32_t code) { return u_isalpha(code); }
bool IsUpper(char32_t code) { return u_isUUppercase(code); }
bool IsLower(char32_t code) { return u_isULowercase(code); }
bool IsTitle(char32_t code) { return u_charType(code) == U_TITLECASE_LETTER; }
bool IsWord(char32_t code) { return code == '_' || IsAlpha(code) || IsNumeric(code); }
int DecimalValue(char32_t code) { return IsDecimal(code) ? u_charDigitValue(code) : -1; }

bool IsIdentifier(absl::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const bool first = at == 0;
    const char32_t code = NextCodePoint(text, &at);
    const bool fits =
        code == '_' || u_hasBinaryProperty(code, first ? UCHAR_XID_START : UCHAR_XID_CONTINUE);
    if (!fits) return false;
  }
  return at > 0;
}

namespace {

template <typename Strips>
absl::string_view StripWhile(absl::string_view text, Sides sides, Strips strips) {
  if (sides & kLeft) {
    size_t keep = 0;
    for (size_t at = 0; at < text.size(); keep = at) {
      if (!strips(NextCodePoint(text, &at))) break;
    }
    text.remove_prefix(keep);
  }
  if (sides & kRight) {
    while (!text.empty()) {
      size_t begin = text.size() - 1;
      while (begin > 0 && (text[begin] & 0xC0) == 0x80) --begin;
      size_t at = begin;
      if (!strips(NextCodePoint(text, &at))) break;
      text = text.substr(0, begin);
    }
  }
  return text;
}

}  // namespace

absl::string_view StripSpace(absl::string_view text, Sides sides) {
  return StripWhile(text, sides, IsSpace);
}

absl::string_view StripCharacters(absl::string_view text, absl::string_view characters,
                                  Sides sides) {
  const std::u32string set = Decode(characters);
  return StripWhile(text, sides,
                    [&](char32_t code) { return set.find(code) != std::u32string::npos; });
}

std::vector<absl::string_view> SplitSpace(absl::string_view text, int64_t limit, bool from_right) {
  std::vector<absl::string_view> out;
  text = StripSpace(text, from_right ? kRight : kLeft);
  while (!text.empty()) {
    if (limit >= 0 && static_cast<int64_t>(out.size()) == limit) {
      out.push_back(text);  // with the spaces of its far side, as in Python
      break;
    }
    size_t begin = 0, end = text.size();
    if (from_right) {
      begin = text.size();
      while (begin > 0) {
        size_t here = begin - 1;
        while (here > 0 && (text[here] & 0xC0) == 0x80) --here;
        size_t at = here;
        if (IsSpace(NextCodePoint(text, &at))) break;
        begin = here;
      }
      out.push_back(text.substr(begin));
      text = StripSpace(text.substr(0, begin), kRight);
    } else {
      for (size_t at = 0; at < text.size();) {
        const size_t here = at;
        if (IsSpace(NextCodePoint(text, &at))) {
          end = here;
          break;
        }
      }
      out.push_back(text.substr(0, end));
      text = StripSpace(text.substr(end), kLeft);
    }
  }
  if (from_right) std::reverse(out.begin(), out.end());
  return out;
}

std::vector<absl::string_view> SplitAt(absl::string_view text, absl::string_view separator,
                                       int64_t limit, bool from_right) {
  std::vector<absl::string_view> out;
  while (limit < 0 || static_cast<int64_t>(out.size()) < limit) {
    const size_t at = from_right ? text.rfind(separator) : text.find(separator);
    if (at == absl::string_view::npos) break;
    if (from_right) {
      out.push_back(text.substr(at + separator.size()));
      text = text.substr(0, at);
    } else {
      out.push_back(text.substr(0, at));
      text = text.substr(at + separator.size());
    }
  }
  out.push_back(text);
  if (from_right) std::reverse(out.begin(), out.end());
  return out;
}

std::vector<absl::string_view> SplitLines(absl::string_view text, bool keep_ends) {
  std::vector<absl::string_view> out;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t here = at;
    const char32_t code = NextCodePoint(text, &at);
    const bool breaks = (code >= 10 && code <= 13) || (code >= 0x1C && code <= 0x1E) ||
                        code == 0x85 || code == 0x2028 || code == 0x2029;
    if (!breaks) continue;
    if (code == '\r' && at < text.size() && text[at] == '\n') ++at;
    out.push_back(text.substr(begin, (keep_ends ? at : here) - begin));
    begin = at;
  }
  if (begin < text.size()) out.push_back(text.substr(begin));
  return out;
}

std::string ReplaceAll(absl::string_view text, absl::string_view old, absl::string_view with,
                       int64_t limit) {
  std::string out;
  size_t at = 0;
  const auto grow = [&](absl::string_view part) {
    out.append(part.data(), part.size());
    if (static_cast<int64_t>(out.size()) > kMaxWeight) {
      throw TemplateError("a value is too large");
    }
  };
  if (old.empty()) {  // between all characters, at the beginning and at the end
    while (limit != 0) {
      grow(with);
      --limit;
      if (at == text.size()) return out;
      const size_t begin = at;
      NextCodePoint(text, &at);
      grow(text.substr(begin, at - begin));
    }
  } else {
    for (; limit != 0; --limit) {
      const size_t found = text.find(old, at);
      if (found == absl::string_view::npos) break;
      grow(text.substr(at, found - at));
      grow(with);
      at = found + old.size();
    }
  }
  grow(text.substr(at));
  return out;
}

std::string EscapeHtml(absl::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::optional<char32_t> CharacterOfName(absl::string_view escape) {
  if (!absl::ConsumePrefix(&escape, "N{") || !absl::ConsumeSuffix(&escape, "}")) {
    return std::nullopt;
  }
  const std::string name(escape);
  UErrorCode error = U_ZERO_ERROR;
  const UChar32 code = u_charFromName(U_UNICODE_CHAR_NAME, name.c_str(), &error);
  if (U_FAILURE(error)) return std::nullopt;
  return static_cast<char32_t>(code);
}

std::string NormalizeNewlines(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r') {
      out += '\n';
      if (i + 1 < text.size() && text[i + 1] == '\n') ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace lockstep::data::jinja
