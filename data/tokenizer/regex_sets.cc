#include "data/tokenizer/regex_sets.h"

#include <unicode/uchar.h>
#include <unicode/uscript.h>

#include <algorithm>
#include <iterator>

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

// Pictures and ideographs of Unicode 15 and 16.
constexpr char kNewEmoji[] =
    "\\x{1f6dc}\\x{1fa75}-\\x{1fa77}\\x{1fa87}-\\x{1fa89}\\x{1fa8f}\\x{1faad}-\\x{1faaf}"
    "\\x{1fabb}-\\x{1fabf}\\x{1fac6}\\x{1face}-\\x{1facf}\\x{1fada}-\\x{1fadc}\\x{1fadf}"
    "\\x{1fae8}-\\x{1fae9}\\x{1faf7}-\\x{1faf8}";
constexpr char kNewIdeographs[] = "\\x{18cff}\\x{2b739}\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}";

// The scripts of characters that ICU does not know (Unicode 15.1 and 16).
constexpr struct {
  char32_t first, last;
  UScriptCode script;
} kNewestScripts[] = {
    {0x897, 0x897, USCRIPT_ARABIC},
    {0x1B4E, 0x1B7F, USCRIPT_BALINESE},
    {0x1C89, 0x1C8A, USCRIPT_CYRILLIC},
    {0x2427, 0x31EF, USCRIPT_COMMON},
    {0xA7CB, 0xA7DC, USCRIPT_LATIN},
    {0x10EC2, 0x10EFC, USCRIPT_ARABIC},
    {0x116D0, 0x116E3, USCRIPT_MYANMAR},
    {0x13460, 0x143FA, USCRIPT_EGYPTIAN_HIEROGLYPHS},
    {0x18CFF, 0x18CFF, USCRIPT_KHITAN_SMALL_SCRIPT},
    {0x1CC00, 0x1CEB3, USCRIPT_COMMON},
    {0x1F6DC, 0x1FBEF, USCRIPT_COMMON},
    {0x2EBF0, 0x2EE5D, USCRIPT_HAN},
};

// Scripts that came with Unicode 15 and 16: all new characters of a block. Names as Find has them.
constexpr struct {
  absl::string_view name, code;
  char32_t first, last;
} kNewScripts[] = {
    {"garay", "gara", 0x10D40, 0x10D8F},        {"gurungkhema", "gukh", 0x16100, 0x16139},
    {"kawi", "kawi", 0x11F00, 0x11F5A},         {"kiratrai", "krai", 0x16D40, 0x16D79},
    {"nagmundari", "nagm", 0x1E4D0, 0x1E4F9},   {"olonal", "onao", 0x1E5D0, 0x1E5FF},
    {"sunuwar", "sunu", 0x11BC0, 0x11BF9},      {"todhri", "todr", 0x105C0, 0x105F3},
    {"tulutigalari", "tutg", 0x11380, 0x113E2},
};

bool HasScript(char32_t c, int script) {
  if (u_charType(static_cast<UChar32>(c)) != U_UNASSIGNED) {
    UErrorCode error = U_ZERO_ERROR;
    return uscript_getScript(static_cast<UChar32>(c), &error) == script;
  }
  for (const auto& range : kNewestScripts) {
    if (range.first <= c && c <= range.last) return range.script == script;
  }
  return false;
}

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
    for (char32_t c = first; c <= last; ++c) {
      if (!HasScript(c, script)) continue;
      const char32_t begin = c;
      while (c < last && HasScript(c + 1, script)) ++c;
      absl::StrAppend(&items, HexEscape(begin), "-", HexEscape(c));
    }
  });
  return items;
}

std::optional<CharacterSet> NamedSets::NewScript(absl::string_view name) const {
  const auto* script =
      std::find_if(std::begin(kNewScripts), std::end(kNewScripts),
                   [&](const auto& one) { return name == one.name || name == one.code; });
  if (script == std::end(kNewScripts)) return std::nullopt;
  CharacterSet set;  // PCRE2 knows none of them
  if (!new_characters_) return set;
  ForEachNewRange("", [&](char32_t first, char32_t last) {
    if (first < script->first || last > script->last) return;
    absl::StrAppend(&set.items, HexEscape(first), "-", HexEscape(last));
  });
  return set;
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
  if (const std::optional<CharacterSet> script = NewScript(name)) return *script;
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
  } else if (name == "upper" || name == "uppercase") {
    set.items = absl::StrCat("\\p{Uppercase}", new_characters_ ? NewItems("Lu") : "");
  } else if (name == "lower" || name == "lowercase") {
    set.items =
        absl::StrCat("\\p{Lowercase}", kNowLowercase, new_characters_ ? NewItems("Ll") : "");
  } else if (name == "blank") {
    set.items = "\\p{Zs}\\x09";
  } else if (new_characters_ && (name == "cn" || name == "unassigned")) {
    set.others.push_back(absl::StrCat("(?:(?![", NewItems(""), "])\\p{Cn})"));
  } else if (new_characters_ && (name == "c" || name == "other")) {
    std::string assigned;
    for (const char* category : {"L", "M", "N", "P", "S"}) assigned += NewItems(category);
    set.others.push_back(absl::StrCat("(?:(?![", assigned, "])\\p{C})"));
  } else if (new_characters_ && (name == "mn" || name == "nonspacingmark")) {
    set.items = NewItems("Mn");
    set.others.push_back("(?:(?!\\x{1171e})\\p{Mn})");  // Mc since Unicode 16
  } else if (new_characters_ && (name == "emoji" || name == "emojipresentation")) {
    set.items = absl::StrCat("\\p{", name, "}", kNewEmoji);
  } else if (new_characters_ && name == "ideographic") {
    set.items = absl::StrCat("\\p{Ideographic}", kNewIdeographs);
  } else if (name == "cntrl") {
    set.items = "\\p{Cc}";
  } else if (name == "ascii") {
    set.items = "\\x00-\\x7f";
  } else if (name == "any") {
    set.items = "\\x{0}-\\x{10ffff}";
  } else if (name == "print" || name == "graph") {
    set = Find("cn");
    absl::StrAppend(&set.items, "\\p{Cc}\\p{Cs}",
                    name == "graph" ? kSpaceItems : "\\x{2028}\\x{2029}");
    set.negated = true;
  } else {
    set.items = UnicodeProperty(given);
  }
  return set;
}

}  // namespace lockstep::data
