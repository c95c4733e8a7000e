#include "data/tokenizer/regex_syntax.h"

#include <unicode/uchar.h>
#include <unicode/uscript.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "data/tokenizer/unicode.h"

namespace lockstep::data {
namespace {

// White_Space, as items of a PCRE2 class (whose own \s has U+180E too).
constexpr char kSpaceItems[] =
    "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"
    "\\x{205f}\\x{3000}";

std::string HexEscape(char32_t c) { return absl::StrFormat("\\x{%x}", static_cast<uint32_t>(c)); }

// A literal character as an item of a class or of an expression.
std::string Quote(char32_t c) {
  if (c < 0x80 && !absl::ascii_isalnum(static_cast<unsigned char>(c))) return HexEscape(c);
  return Utf8(c);
}

// A set of characters. Its members are those of `items` (what stands between the brackets of a
// PCRE2 class) and those of any of `others` (expressions that match one character).
struct Set {
  std::string items;
  std::vector<std::string> others;
  bool negated = false;

  void Add(const Set& other) {
    if (other.negated) {
      others.push_back(other.Expression());
    } else {
      items += other.items;
      others.insert(others.end(), other.others.begin(), other.others.end());
    }
  }

  std::string Expression() const {
    if (others.empty()) {
      if (items.empty()) return negated ? "(?s:.)" : "(?!)";
      return absl::StrCat(negated ? "[^" : "[", items, "]");
    }
    std::vector<std::string> parts = others;
    if (!items.empty()) parts.insert(parts.begin(), absl::StrCat("[", items, "]"));
    const std::string any_of = absl::StrCat("(?:", absl::StrJoin(parts, "|"), ")");
    return negated ? absl::StrCat("(?:(?!", any_of, ")(?s:.))") : any_of;
  }
};

class Translator {
 public:
  Translator(absl::string_view pattern, bool new_characters)
      : pattern_(pattern), new_characters_(new_characters) {}

  absl::StatusOr<std::string> Run() {
    while (at_ < pattern_.size()) RETURN_IF_ERROR(Next());
    CloseOptionGroups();
    return std::move(out_);
  }

 private:
  absl::Status Unsupported(absl::string_view what) const {
    return UserError(absl::StrCat("regular expression ", pattern_),
                     absl::StrCat(what, " at byte ", at_, " is not supported"));
  }
  bool Consume(absl::string_view text) {
    if (!absl::StartsWith(pattern_.substr(at_), text)) return false;
    at_ += text.size();
    return true;
  }
  char32_t TakeCharacter() {
    int length;
    const char32_t c = DecodeUtf8(pattern_.data() + at_, &length);
    at_ += length;
    return c;
  }
  void Atom(const std::string& text) {
    atom_ = out_.size();
    out_ += text;
  }

  absl::Status Next() {
    const char c = pattern_[at_];
    switch (c) {
      case '\\':
        return Escape();
      case '[': {
        ++at_;
        ASSIGN_OR_RETURN(const Set set, Class());
        Atom(set.Expression());
        return absl::OkStatus();
      }
      case '(':
        return OpenGroup();
      case ')':
        ++at_;
        CloseOptionGroups();
        if (!groups_.empty()) {
          atom_ = groups_.back().begin;
          groups_.pop_back();
        }
        out_ += ')';
        return absl::OkStatus();
      case '^':
      case '$':
        ++at_;
        Atom(absl::StrCat("(?m:", absl::string_view(&c, 1), ")"));
        return absl::OkStatus();
      case '{':
        return Interval();
      case '*':
      case '+':
      case '?':
      case '|':
        ++at_;
        out_ += c;
        return absl::OkStatus();
      default: {
        const size_t begin = at_;
        TakeCharacter();
        Atom(std::string(pattern_.substr(begin, at_ - begin)));
        return absl::OkStatus();
      }
    }
  }

  // --- groups ---------------------------------------------------------------------------------

  absl::Status OpenGroup() {
    groups_.push_back({out_.size(), 0});
    if (Consume("(?#")) {
      groups_.pop_back();
      at_ = std::min(pattern_.find(')', at_), pattern_.size() - 1) + 1;
      return absl::OkStatus();
    }
    if (absl::StartsWith(pattern_.substr(at_), "(?~")) return Unsupported("the absence operator");
    if (absl::StartsWith(pattern_.substr(at_), "(?(")) return Unsupported("a conditional");
    if (absl::StartsWith(pattern_.substr(at_), "(*")) return Unsupported("a callout");
    for (absl::string_view open : {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?<", "(?'"}) {
      if (Consume(open)) {
        out_.append(open.data(), open.size());
        return absl::OkStatus();
      }
    }
    if (Consume("(?")) return Options();
    ++at_;
    out_ += '(';
    return absl::OkStatus();
  }

  // Behind "(?": imx-imx and ":" or ")". Ruby's m is PCRE2's s.
  absl::Status Options() {
    std::string options;
    while (at_ < pattern_.size() && pattern_[at_] != ':' && pattern_[at_] != ')') {
      const char c = pattern_[at_];
      if (!absl::StrContains("imx-", std::string(1, c))) return Unsupported("this group");
      options += c == 'm' ? 's' : c;
      ++at_;
    }
    if (at_ == pattern_.size()) return Unsupported("an open group");
    const bool isolated = pattern_[at_++] == ')';
    out_ += absl::StrCat("(?", options, ":");
    if (isolated) {  // reaches to the end of the group around it, alternatives included
      groups_.pop_back();
      ++(groups_.empty() ? top_option_groups_ : groups_.back().option_groups);
    }
    return absl::OkStatus();
  }

  void CloseOptionGroups() {
    int& open = groups_.empty() ? top_option_groups_ : groups_.back().option_groups;
    for (; open > 0; --open) out_ += ')';
  }

  // --- quantifiers ----------------------------------------------------------------------------

  // {n} {n,} {,m} {n,m}, or a brace that means itself.
  absl::Status Interval() {
    const size_t close = pattern_.find('}', at_);
    const absl::string_view body =
        close == absl::string_view::npos ? "" : pattern_.substr(at_ + 1, close - at_ - 1);
    const size_t comma = body.find(',');
    const absl::string_view low = body.substr(0, std::min(comma, body.size()));
    const absl::string_view high = comma == absl::string_view::npos ? "" : body.substr(comma + 1);
    const auto digits = [](absl::string_view s) {
      return std::all_of(s.begin(), s.end(),
                         [](unsigned char c) { return absl::ascii_isdigit(c); });
    };
    if (!digits(low) || !digits(high) || (low.empty() && high.empty())) {
      ++at_;
      Atom("\\{");
      return absl::OkStatus();
    }
    at_ = close + 1;
    const absl::string_view from = low.empty() ? "0" : low;
    out_ += comma == absl::string_view::npos ? absl::StrCat("{", from, "}")
                                             : absl::StrCat("{", from, ",", high, "}");
    const bool exact = comma == absl::string_view::npos;
    if (at_ < pattern_.size() && (pattern_[at_] == '+' || (pattern_[at_] == '?' && exact))) {
      out_.insert(atom_, "(?:");
      out_ += absl::StrCat(")", pattern_.substr(at_++, 1));
    }
    return absl::OkStatus();
  }

  // --- escapes --------------------------------------------------------------------------------

  // \xHH, \x{H…}, \uHHHH, \t …: the character that it means, if it means one.
  std::optional<char32_t> EscapedCharacter() {
    const size_t begin = at_;
    const char c = pattern_[at_++];
    const auto hex = [&](size_t digits) -> std::optional<char32_t> {
      uint32_t value;
      if (at_ + digits <= pattern_.size() &&
          absl::SimpleHexAtoi(pattern_.substr(at_, digits), &value)) {
        at_ += digits;
        return value;
      }
      at_ = begin;
      return std::nullopt;
    };
    switch (c) {
      case 't':
        return '\t';
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 'f':
        return '\f';
      case 'v':
        return '\v';
      case 'a':
        return '\a';
      case 'e':
        return 0x1B;
      case 'u':
        return hex(4);
      case 'x': {
        if (!Consume("{")) {
          const bool two = at_ + 1 < pattern_.size() && absl::ascii_isxdigit(pattern_[at_ + 1]);
          return hex(two ? 2 : 1);
        }
        const size_t close = pattern_.find('}', at_);
        if (close == absl::string_view::npos) break;
        const std::optional<char32_t> value = hex(close - at_);
        if (value) ++at_;
        return value;
      }
      default:
        if (!absl::ascii_isalnum(static_cast<unsigned char>(c))) {
          at_ = begin;
          return TakeCharacter();
        }
    }
    at_ = begin;
    return std::nullopt;
  }

  // Behind a backslash: \w, \p{…} and so on, or none.
  absl::StatusOr<std::optional<Set>> EscapedSet() {
    const char c = pattern_[at_];
    Set set;
    switch (absl::ascii_tolower(static_cast<unsigned char>(c))) {
      case 'd':
        set = Named("nd");
        break;
      case 's':
        set = Named("space");
        break;
      case 'w':
        set = Named("word");
        break;
      case 'h':
        set = Named("xdigit");
        break;
      case 'p': {
        if (at_ + 1 >= pattern_.size() || pattern_[at_ + 1] != '{') return std::optional<Set>();
        const size_t close = pattern_.find('}', at_);
        if (close == absl::string_view::npos) return Unsupported("an open \\p{");
        absl::string_view name = pattern_.substr(at_ + 2, close - at_ - 2);
        const bool inverted = absl::ConsumePrefix(&name, "^");
        set = Named(name);
        set.negated ^= inverted;
        at_ = close;
        break;
      }
      default:
        return std::optional<Set>();
    }
    ++at_;
    if (absl::ascii_isupper(static_cast<unsigned char>(c))) set.negated = !set.negated;
    return std::optional<Set>(set);
  }

  // Outside of a class, Oniguruma counts the superscripts and fractions of Latin-1 as word
  // characters; inside it does not.
  Set OutsideClass(Set set) const {
    if (set.items == Named("word").items) {
      set.items += "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}";
    }
    return set;
  }

  absl::Status Escape() {
    ++at_;
    if (at_ == pattern_.size()) return Unsupported("a backslash at the end");
    ASSIGN_OR_RETURN(const std::optional<Set> set, EscapedSet());
    if (set) {
      Atom(OutsideClass(*set).Expression());
    } else if (const std::optional<char32_t> c = EscapedCharacter()) {
      Atom(Quote(*c));
    } else if (pattern_[at_] == 'b' || pattern_[at_] == 'B') {
      // Between a word character and another one, or not.
      const std::string word = OutsideClass(Named("word")).Expression();
      const bool between = pattern_[at_++] == 'b';
      Atom(absl::StrCat("(?:(?<=", word, between ? ")(?!" : ")(?=", word, ")|(?<!", word,
                        between ? ")(?=" : ")(?!", word, "))"));
    } else {  // \A \1 \k<name> …: the same in both
      Atom(absl::StrCat("\\", pattern_.substr(at_++, 1)));
    }
    return absl::OkStatus();
  }

  // --- classes --------------------------------------------------------------------------------

  // Behind "[": up to and with its "]".
  absl::StatusOr<Set> Class() {
    if (++class_depth_ > 50) return Unsupported("a class nested this deep");
    Set all;
    std::vector<std::string> intersected;  // what stood before each &&
    const bool negated = Consume("^");
    const size_t first = at_;
    while (true) {
      if (at_ >= pattern_.size()) return Unsupported("an open [");
      if (pattern_[at_] == ']' && at_ != first) break;
      if (Consume("&&")) {
        intersected.push_back(all.Expression());
        all = Set();
        continue;
      }
      RETURN_IF_ERROR(ClassItem(&all));
    }
    ++at_;
    --class_depth_;
    if (!intersected.empty()) {
      std::string expression = "(?:";
      for (const std::string& part : intersected) absl::StrAppend(&expression, "(?=", part, ")");
      absl::StrAppend(&expression, all.Expression(), ")");
      all = Set();
      all.others.push_back(std::move(expression));
    }
    all.negated = negated;
    return all;
  }

  absl::Status ClassItem(Set* all) {
    if (Consume("[:")) {
      const size_t close = pattern_.find(":]", at_);
      if (close != absl::string_view::npos) {
        absl::string_view name = pattern_.substr(at_, close - at_);
        at_ = close + 2;
        const bool inverted = absl::ConsumePrefix(&name, "^");
        Set set = Named(name);
        if (name == "punct") set.items += Category("S");
        set.negated ^= inverted;
        all->Add(set);
        return absl::OkStatus();
      }
      at_ -= 2;
    }
    if (Consume("[")) {
      ASSIGN_OR_RETURN(const Set inner, Class());
      all->Add(inner);
      return absl::OkStatus();
    }
    char32_t low;
    if (Consume("\\")) {
      if (at_ == pattern_.size()) return Unsupported("a backslash at the end");
      ASSIGN_OR_RETURN(const std::optional<Set> set, EscapedSet());
      if (set) {
        all->Add(*set);
        return absl::OkStatus();
      }
      ASSIGN_OR_RETURN(low, ClassEscape());
    } else {
      low = TakeCharacter();
    }
    absl::StrAppend(&all->items, Quote(low));
    return ClassRange(all);
  }

  absl::StatusOr<char32_t> ClassEscape() {
    if (Consume("b")) return U'\b';
    const std::optional<char32_t> c = EscapedCharacter();
    return c ? *c : TakeCharacter();
  }

  // "-x" behind a character, if a range stands there.
  absl::Status ClassRange(Set* all) {
    const absl::string_view rest = pattern_.substr(at_);
    if (rest.size() < 2 || rest[0] != '-' || rest[1] == ']' || rest[1] == '[') {
      return absl::OkStatus();
    }
    const size_t dash = at_++;
    char32_t high;
    if (Consume("\\")) {
      if (at_ == pattern_.size()) return Unsupported("a backslash at the end");
      if (absl::StrContains("dDwWsShHpP", pattern_.substr(at_, 1))) {  // "-" means itself
        at_ = dash + 1;
        all->items += "\\x2d";
        return absl::OkStatus();
      }
      ASSIGN_OR_RETURN(high, ClassEscape());
    } else {
      high = TakeCharacter();
    }
    absl::StrAppend(&all->items, "-", Quote(high));
    return absl::OkStatus();
  }

  // --- properties -----------------------------------------------------------------------------

  // PCRE2 knows one- and two-letter categories; `extra` characters are newer than its tables.
  std::string Category(absl::string_view name) const {
    std::string items = absl::StrCat("\\p{", name, "}");
    if (!new_characters_) return items;
    ForEachNewRange(name, [&](char32_t first, char32_t last) {
      absl::StrAppend(&items, HexEscape(first), "-", HexEscape(last));
    });
    return items;
  }

  std::string NewCharacters() const {
    std::string items;
    ForEachNewRange("", [&](char32_t first, char32_t last) {
      absl::StrAppend(&items, HexEscape(first), "-", HexEscape(last));
    });
    return items;
  }

  std::string Script(int script) const {
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

  std::string Alphabetic() const {
    // Unicode 15 and 16 have made these marks alphabetic.
    constexpr char kNow[] =
        "\\p{Alphabetic}\\x{363}-\\x{36f}\\x{1dd3}-\\x{1de6}\\x{c04}\\x{cf3}\\x{f82}-\\x{f83}\\x{"
        "897}"
        "\\x{10d69}\\x{10efc}\\x{11080}-\\x{11081}\\x{11241}\\x{113b8}-\\x{113c0}\\x{113c2}\\x{"
        "113c5}"
        "\\x{113c7}-\\x{113ca}\\x{113cc}-\\x{113cd}\\x{11f00}-\\x{11f01}\\x{11f03}\\x{11f34}-\\x{"
        "11f3a}"
        "\\x{11f3e}-\\x{11f40}\\x{1611e}-\\x{1612e}\\x{1e08f}";
    if (!new_characters_) return kNow;
    return absl::StrCat(kNow, Category("L"), Category("Nl"));
  }

  // A property by Oniguruma's name for it, POSIX names included.
  Set Named(absl::string_view given) const {
    std::string name;
    for (const char c : given) {
      if (c != ' ' && c != '_' && c != '-') name += absl::ascii_tolower(c);
    }
    Set set;
    if (name == "space" || name == "whitespace") {
      set.items = kSpaceItems;
    } else if (name == "word") {
      set.items = absl::StrCat(Alphabetic(), Category("M"), Category("Nd"), Category("Pc"));
    } else if (name == "alpha" || name == "alphabetic") {
      set.items = Alphabetic();
    } else if (name == "alnum") {
      set.items = absl::StrCat(Alphabetic(), Category("Nd"));
    } else if (name == "digit") {
      set.items = Category("Nd");
    } else if (name == "xdigit") {
      set.items = "0-9A-Fa-f";
    } else if (name == "upper") {
      set.items = absl::StrCat("\\p{Uppercase}", new_characters_ ? Category("Lu") : "");
    } else if (name == "lower") {
      set.items =
          absl::StrCat("\\p{Lowercase}\\x{10fc}\\x{a7f2}-\\x{a7f4}\\x{ab69}\\x{1e030}-\\x{1e06d}",
                       new_characters_ ? Category("Ll") : "");
    } else if (name == "blank") {
      set.items = "\\p{Zs}\\x09";
    } else if (new_characters_ && (name == "c" || name == "cn" || name == "other")) {
      set.others.push_back(
          absl::StrCat("(?:(?![", NewCharacters(), "])\\p{", name == "cn" ? "Cn" : "C", "})"));
    } else if (name == "cntrl") {
      set.items = "\\p{Cc}";
    } else if (name == "ascii") {
      set.items = "\\x00-\\x7f";
    } else if (name == "any") {
      set.items = "\\x{0}-\\x{10ffff}";
    } else if (name == "print" || name == "graph") {
      set = Named("cn");
      absl::StrAppend(&set.items, "\\p{Cc}\\p{Cs}", name == "graph" ? kSpaceItems : "");
      set.negated = true;
    } else {
      set.items = UnicodeProperty(given);
    }
    return set;
  }

  // A general category, a script (never its extensions) or a binary property, by any of its names;
  // unknown names go through, for PCRE2 to refuse.
  std::string UnicodeProperty(absl::string_view given) const {
    const std::string name(given);
    const int mask = u_getPropertyValueEnum(UCHAR_GENERAL_CATEGORY_MASK, name.c_str());
    if (mask != UCHAR_INVALID_CODE) {
      const char* category =
          u_getPropertyValueName(UCHAR_GENERAL_CATEGORY_MASK, mask, U_SHORT_PROPERTY_NAME);
      if (category != nullptr && absl::string_view(category) != "LC") return Category(category);
      return absl::StrCat(Category("Lu"), Category("Ll"), Category("Lt"));
    }
    const int script = u_getPropertyValueEnum(UCHAR_SCRIPT, name.c_str());
    if (script != UCHAR_INVALID_CODE) {
      return Script(script);
    }
    return absl::StrCat("\\p{", name, "}");
  }

  struct Group {
    size_t begin;       // in out_
    int option_groups;  // that "(?i)" has opened inside it
  };

  const absl::string_view pattern_;
  const bool new_characters_;
  size_t at_ = 0;
  std::string out_;
  size_t atom_ = 0;  // where in out_ the last atom begins, which a quantifier would repeat
  std::vector<Group> groups_;
  int top_option_groups_ = 0;
  int class_depth_ = 0;
};

}  // namespace

absl::StatusOr<std::string> TranslateRegex(absl::string_view pattern, bool new_characters) {
  return Translator(pattern, new_characters).Run();
}

}  // namespace lockstep::data
