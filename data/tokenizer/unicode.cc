#include "data/tokenizer/unicode.h"

#include <simdjson.h>
#include <unicode/uchar.h>
#include <unicode/uscript.h>

#include <algorithm>
#include <bitset>

namespace lockstep::data {
namespace {

const UnicodeRange* FindNewRange(char32_t c) {
  const UnicodeRange* end = kUnicode15And16 + kUnicode15And16Size;
  const UnicodeRange* found =
      std::upper_bound(kUnicode15And16, end, c,
                       [](char32_t x, const UnicodeRange& range) { return x < range.first; });
  return found != kUnicode15And16 && c <= found[-1].last ? found - 1 : nullptr;
}

int CategoryFromName(absl::string_view name) {
  return u_getPropertyValueEnum(UCHAR_GENERAL_CATEGORY, std::string(name).c_str());
}

// The Unicode version that brought c, as major * 16 + minor; large if ICU does not know it.
int Age(char32_t c) {
  UVersionInfo version;
  u_charAge(c, version);
  return version[0] == 0 ? 1 << 16 : version[0] * 16 + version[1];
}

bool Has(char32_t c, uint32_t mask) { return (U_MASK(GeneralCategory(c)) & mask) != 0; }

// Number of bytes of the well-formed sequence at `p`, or minus the length of its maximal ill-formed
// part (Unicode 16, table 3-7).
int SequenceLength(const unsigned char* p, size_t left) {
  const unsigned char lead = p[0];
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead > 0xF4) return -1;
  const int length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  for (int i = 1; i < length; ++i) {
    unsigned char low = 0x80, high = 0xBF;
    if (i == 1) {
      if (lead == 0xE0) low = 0xA0;
      if (lead == 0xED) high = 0x9F;
      if (lead == 0xF0) low = 0x90;
      if (lead == 0xF4) high = 0x8F;
    }
    if (static_cast<size_t>(i) >= left || p[i] < low || p[i] > high) return -i;
  }
  return length;
}

}  // namespace

char32_t DecodeUtf8Before(const char* end, int* length) {
  const char* p = end - 1;
  while ((static_cast<unsigned char>(*p) & 0xC0) == 0x80) --p;
  return DecodeUtf8(p, length);
}

std::string Utf8(char32_t c) {
  std::string out;
  AppendUtf8(c, &out);
  return out;
}

size_t ValidUtf8Length(absl::string_view text) {
  if (simdjson::validate_utf8(text.data(), text.size())) return text.size();
  const auto* p = reinterpret_cast<const unsigned char*>(text.data());
  size_t i = 0;
  while (i < text.size()) {
    const int length = SequenceLength(p + i, text.size() - i);
    if (length < 0) return i;
    i += length;
  }
  return i;
}

std::string ReplaceInvalidUtf8(absl::string_view bytes) {
  if (simdjson::validate_utf8(bytes.data(), bytes.size())) return std::string(bytes);
  std::string out;
  const auto* p = reinterpret_cast<const unsigned char*>(bytes.data());
  for (size_t i = 0; i < bytes.size();) {
    const int length = SequenceLength(p + i, bytes.size() - i);
    if (length > 0) {
      out.append(bytes.data() + i, length);
    } else {
      AppendUtf8(0xFFFD, &out);
    }
    i += std::abs(length);
  }
  return out;
}

int GeneralCategory(char32_t c) {
  const int category = u_charType(c);
  if (category != U_UNASSIGNED) return category;
  const UnicodeRange* range = FindNewRange(c);
  return range == nullptr ? category : CategoryFromName(range->category);
}

bool IsNewerThanPcre2(char32_t c) {
  static const std::bitset<0x1100>& blocks = *[] {  // by c >> 8
    auto* set = new std::bitset<0x1100>;
    for (size_t i = 0; i < kUnicode15And16Size; ++i) {
      const UnicodeRange& range = kUnicode15And16[i];
      for (char32_t block = range.first >> 8; block <= range.last >> 8; ++block) set->set(block);
    }
    return set;
  }();
  return blocks[c >> 8] && FindNewRange(c) != nullptr;
}

bool IsWhiteSpace(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool IsNumeric(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  return Has(c, U_GC_N_MASK) || (c >= 0x11DE0 && c <= 0x11DE9) || (c >= 0x16FF4 && c <= 0x16FF6);
}

bool IsWordCharacter(char32_t c) {
  return u_hasBinaryProperty(c, UCHAR_ALPHABETIC) || c == 0x200C || c == 0x200D ||
         Has(c, U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK | U_GC_L_MASK | U_GC_NL_MASK);
}

bool IsPunctuation(char32_t c) {
  if (c < 0x80) return u_ispunct(c) || (Has(c, U_GC_S_MASK));
  if (c == 0x166D || c == 0x111C9) return true;  // recategorized since
  return Has(c, U_GC_P_MASK) && Age(c) <= 8 * 16;
}

bool IsNonspacingMark(char32_t c) {
  if (c == 0x1734) return true;  // recategorized since
  const bool was_spacing = c == 0x1885 || c == 0x1886 || c == 0xA9BD || c == 0x111C9;
  return Has(c, U_GC_MN_MASK) && Age(c) <= 8 * 16 && !was_spacing;
}

bool IsCombiningMark(char32_t c) {
  if (c == 0x1CF2 || c == 0x1CF3) return true;  // recategorized since
  return Has(c, U_GC_M_MASK) && Age(c) <= 9 * 16 && c != 0x111C9;
}

bool IsControlOrFormat(char32_t c) {
  return Has(c, U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK | U_GC_CS_MASK) && Age(c) <= 8 * 16;
}

char32_t LowercaseCharacter(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
  const char32_t lower = u_tolower(c);
  if (lower != c || u_charType(c) != U_UNASSIGNED) return lower;
  switch (c) {  // newer than ICU's tables
    case 0x1C89:
    case 0xA7CC:
    case 0xA7CE:
    case 0xA7D2:
    case 0xA7D4:
    case 0xA7DA:
      return c + 1;
    case 0xA7CB:
      return 0x264;
    case 0xA7DC:
      return 0x19B;
  }
  if (c >= 0x10D50 && c <= 0x10D65) return c + 32;
  if (c >= 0x16EA0 && c <= 0x16EB8) return c + 27;
  return c;
}

int Script(char32_t c) {
  if (c == 0x953 || c == 0x954) return USCRIPT_DEVANAGARI;  // reassigned since, as the next two
  if (c == 0x589 || c == 0x61C) return USCRIPT_COMMON;
  if (Age(c) > 9 * 16) return -1;
  UErrorCode error = U_ZERO_ERROR;
  const int script = uscript_getScript(static_cast<UChar32>(c), &error);
  return script == USCRIPT_UNKNOWN ? -1 : script;
}

}  // namespace lockstep::data
