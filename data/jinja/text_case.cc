// text.h: lower and upper case; text.cc has the rest.
#include <unicode/uchar.h>
#include <unicode/ustring.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "data/jinja/text.h"
#include "data/jinja/value.h"

namespace lockstep::data::jinja {

namespace {

using UChars = std::u16string;

bool IsAscii(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
}

UChars ToUtf16(absl::string_view text) {
  UChars out;
  for (size_t at = 0; at < text.size();) {
    const char32_t code = NextCodePoint(text, &at);
    if (code < 0x10000) {
      out.push_back(static_cast<char16_t>(code));
    } else {
      out.push_back(static_cast<char16_t>(0xD7C0 + (code >> 10)));
      out.push_back(static_cast<char16_t>(0xDC00 + (code & 0x3FF)));
    }
  }
  return out;
}

std::string FromUtf16(const UChars& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    char32_t code = text[i];
    if (code >= 0xD800 && code < 0xDC00 && i + 1 < text.size()) {
      code = 0x10000 + ((code - 0xD800) << 10) + (text[++i] - 0xDC00);
    }
    AppendUtf8(code, &out);
  }
  return out;
}

// ICU's full, context-sensitive mapping, as Python has it ('ß'.upper() is 'SS').
template <typename Map>
std::string MapCase(absl::string_view text, Map map) {
  const UChars in = ToUtf16(text);
  UChars out(in.size() * 3 + 8, u'\0');
  UErrorCode status = U_ZERO_ERROR;
  const int32_t size = map(out.data(), static_cast<int32_t>(out.size()), in.data(),
                           static_cast<int32_t>(in.size()), &status);
  if (U_FAILURE(status)) throw TemplateError("the string cannot change its case");
  out.resize(size);
  return FromUtf16(out);
}

std::string TitleOne(char32_t code) {
  if (code < 0x80) return std::string(1, absl::ascii_toupper(static_cast<char>(code)));
  std::string one;
  AppendUtf8(code, &one);
  const UChars in = ToUtf16(one);
  UChars out(8, u'\0');
  UErrorCode status = U_ZERO_ERROR;
  const int32_t size = u_strToTitle(out.data(), static_cast<int32_t>(out.size()), in.data(),
                                    static_cast<int32_t>(in.size()), nullptr, "", &status);
  if (U_FAILURE(status)) return one;
  out.resize(size);
  return FromUtf16(out);
}

bool IsCased(char32_t code) { return u_hasBinaryProperty(code, UCHAR_CASED); }

}  // namespace

std::string Lower(absl::string_view text) {
  if (IsAscii(text)) return absl::AsciiStrToLower(text);
  return MapCase(text, [](auto* out, int32_t room, const auto* in, int32_t size, UErrorCode* e) {
    return u_strToLower(out, room, in, size, "", e);
  });
}

std::string Upper(absl::string_view text) {
  if (IsAscii(text)) return absl::AsciiStrToUpper(text);
  return MapCase(text, [](auto* out, int32_t room, const auto* in, int32_t size, UErrorCode* e) {
    return u_strToUpper(out, room, in, size, "", e);
  });
}

std::string CaseFold(absl::string_view text) {
  return MapCase(text, [](auto* out, int32_t room, const auto* in, int32_t size, UErrorCode* e) {
    return u_strFoldCase(out, room, in, size, U_FOLD_CASE_DEFAULT, e);
  });
}

std::string Capitalize(absl::string_view text) {
  if (text.empty()) return "";
  size_t at = 0;
  const char32_t first = NextCodePoint(text, &at);
  return TitleOne(first) + Lower(text.substr(at));
}

std::string TitleCase(absl::string_view text) {
  std::string out;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const char32_t code = NextCodePoint(text, &at);
    out += inside ? Lower(text.substr(begin, at - begin)) : TitleOne(code);
    inside = IsCased(code);
  }
  return out;
}

std::string SwapCase(absl::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const char32_t code = NextCodePoint(text, &at);
    const absl::string_view one = text.substr(begin, at - begin);
    out += IsUpper(code) ? Lower(one) : IsLower(code) ? Upper(one) : std::string(one);
  }
  return out;
}

}  // namespace lockstep::data::jinja
