#include "data/tokenizer/regex_sets.h"

#include <unicode/uchar.h>
#include <unicode/uscript.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "data/tokenizer/unicode.h"

namespace lockstep::data {
namespace {

// White_Space, as items of a PCRE2 class (whose own \s has U+180E too).
constexpr char kSpaceItems[] =
    "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"
    "\\x{205f}\\x{3000}";

// Unicode 15 and 16 have made these marks alphabetic.
constexpr char kNowAlphabetic[] =
    "\\x{363}-\\x{36f}\\x{1dd3}-\\x{1de6}\\x{c04}\\x{cf3}\\x{f82}-\\x{f83}\\x{897}\\x{10d69}"
    "\\x{10efc}\\x{11080}-\\x{11081}\\x{11241}\\x{113b8}-\\x{113c0}\\x{113c2}\\x{113c5}"
    "\\x{113c7}-\\x{113ca}\\x{113cc}-\\x{113cd}\\x{11f00}-\\x{11f01}\\x{11f03}"
    "\\x{11f34}-\\x{11f3a}\\x{11f3e}-\\x{11f40}\\x{1611e}-\\x{1612e}\\x{1e08f}";

// And these lower case.
constexpr char kNowLowercase[] = "\\x{10fc}\\x{a7f2}-\\x{a7f4}\\x{ab69}\\x{1e030}-\\x{1e06d}";

std::string HexEscape(char32_t c) { return absl::StrFormat("\\x{%x}", static_cast<uint32_t>(c)); }

// The characters that PCRE2 does not know, of a category or of all.
std::string NewItems(absl::string_view category) {
  std::string items;
  ForEachNewRange(category, [&](char32_t first, char32_t last) {
    absl::StrAppend(&items, HexEscape(first), "-", HexEscape(last));
  });
  return items;
}

}  // namespace

void CharacterSet::Add(const CharacterSet& other) {
  if (other.negated) {
    others.push_back(other.Expression());
  } else {
    items += other.items;
    others.insert(others.end(), other.others.begin(), other.others.end());
  }
}

std::string CharacterSet::Expression() const {
  if (others.empty()) {
    if (items.empty()) return negated ? "(?s:.)" : "(?!)";
    return absl::StrCat(negated ? "[^" : "[", items, "]");
  }
  std::vector<std::string> parts = others;
  if (!items.empty()) parts.insert(parts.begin(), absl::StrCat("[", items, "]"));
  const std::string any_of = absl::StrCat("(?:", absl::StrJoin(parts, "|"), ")");
  return negated ? absl::StrCat("(?:(?!", any_of, ")(?s:.))") : any_of;
}

std::string QuoteCharacter(char32_t c) {
  if (c < 0x80 && !absl::ascii_isalnum(static_cast<unsigned char>(c))) return HexEscape(c);
  return Utf8(c);
}

std::string NamedSets::Category(absl::string_view name) const {
  return absl::StrCat("\\p{", name, "}", new_characters_ ? NewItems(name) : "");
}

std::string NamedSets::Script(int script) const {
  std::string items = absl::StrCat(
      "\\p{sc:", u_getPropertyValueName(UCHAR_SCRIPT, script, U_LONG_PROPERTY_NAME), "}");
  if (!new_characters_) return items;
  ForEachNewRange("", [&](char32_t first, char32_t last) {
    const bool extension_i = first >= 0x2EBF0 && last <= 0x2EE5D;  // Unicode 15.1
    UErrorCode error = U_ZERO_ERROR;
    if (uscript_getScript(first, &error) == script || (script == USCRIPT_HAN && extension_i)) {
      absl::StrAppend(&items, HexEscape(first), "-", HexEscape(last));
    }
  });
  return items;
}

std::string NamedSets::Alphabetic() const {
  return absl::StrCat("\\p{Alphabetic}", kNowAlphabetic,
                      new_characters_ ? NewItems("L") + NewItems("Nl") : "");
}

CharacterSet NamedSets::FindPosix(absl::string_view name) const {
  CharacterSet set = Find(name);
  if (name == "punct") set.items += Category("S");
  return set;
}

CharacterSet NamedSets::Word(bool in_class) const {
  CharacterSet set;
  set.items = absl::StrCat(Alphabetic(), Category("M"), Category("Nd"), Category("Pc"),
                           in_class ? "" : "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}");
  return set;
}

std::string NamedSets::UnicodeProperty(absl::string_view given) const {
  const std::string name(given);
  const int mask = u_getPropertyValueEnum(UCHAR_GENERAL_CATEGORY_MASK, name.c_str());
  if (mask != UCHAR_INVALID_CODE) {
    const char* category =
        u_getPropertyValueName(UCHAR_GENERAL_CATEGORY_MASK, mask, U_SHORT_PROPERTY_NAME);
    if (category != nullptr && absl::string_view(category) != "LC") return Category(category);
    return absl::StrCat(Category("Lu"), Category("Ll"), Category("Lt"));
  }
  const int script = u_getPropertyValueEnum(UCHAR_SCRIPT, name.c_str());
  if (script != UCHAR_INVALID_CODE) return Script(script);
  return absl::StrCat("\\p{", name, "}");
}

CharacterSet NamedSets::Find(absl::string_view given) const {
  std::string name;
  for (const char c : given) {
    if (c != ' ' && c != '_' && c != '-') name += absl::ascii_tolower(c);
  }
  CharacterSet set;
  if (name == "space" || name == "whitespace") {
    set.items = kSpaceItems;
  } else if (name == "word") {
    set = Word(/*in_class=*/true);
  } else if (name == "alpha" || name == "alphabetic") {
    set.items = Alphabetic();
  } else if (name == "alnum") {
    set.items = absl::StrCat(Alphabetic(), Category("Nd"));
  } else if (name == "digit") {
    set.items = Category("Nd");
  } else if (name == "xdigit") {
    set.items = "0-9A-Fa-f";
  } else if (name == "upper") {
    set.items = absl::StrCat("\\p{Uppercase}", new_characters_ ? NewItems("Lu") : "");
  } else if (name == "lower") {
    set.items =
        absl::StrCat("\\p{Lowercase}", kNowLowercase, new_characters_ ? NewItems("Ll") : "");
  } else if (name == "blank") {
    set.items = "\\p{Zs}\\x09";
  } else if (new_characters_ && (name == "c" || name == "cn" || name == "other")) {
    set.others.push_back(
        absl::StrCat("(?:(?![", NewItems(""), "])\\p{", name == "cn" ? "Cn" : "C", "})"));
  } else if (name == "cntrl") {
    set.items = "\\p{Cc}";
  } else if (name == "ascii") {
    set.items = "\\x00-\\x7f";
  } else if (name == "any") {
    set.items = "\\x{0}-\\x{10ffff}";
  } else if (name == "print" || name == "graph") {
    set = Find("cn");
    absl::StrAppend(&set.items, "\\p{Cc}\\p{Cs}", name == "graph" ? kSpaceItems : "");
    set.negated = true;
  } else {
    set.items = UnicodeProperty(given);
  }
  return set;
}

}  // namespace lockstep::data
