#include "data/tokenizer/regex_syntax.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "data/tokenizer/regex_escapes.h"
#include "data/tokenizer/regex_sets.h"
#include "data/tokenizer/unicode.h"

namespace lockstep::data {
namespace {

class Translator {
 public:
  Translator(absl::string_view pattern, bool new_characters)
      : pattern_(pattern), sets_(new_characters) {}

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
  bool AtOneOf(absl::string_view characters) const {
    return at_ < pattern_.size() && absl::StrContains(characters, pattern_[at_]);
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
        ASSIGN_OR_RETURN(const CharacterSet set, Class());
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
      default:
        Atom(Utf8(TakeCharacter()));
        return absl::OkStatus();
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

  // Behind "(?": im-im and ":" or ")". Ruby's m is PCRE2's s.
  absl::Status Options() {
    std::string options;
    while (at_ < pattern_.size() && pattern_[at_] != ':' && pattern_[at_] != ')') {
      const char c = pattern_[at_];
      if (c == 'x') return Unsupported("the extended syntax");
      if (!absl::StrContains("im-", std::string(1, c))) return Unsupported("this group");
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

  char32_t Take(const EscapedCharacter& escaped) {
    at_ += escaped.size;
    return escaped.character;
  }

  // Behind a backslash: \w, \p{…} and so on, or none.
  absl::StatusOr<std::optional<CharacterSet>> EscapedSet(bool in_class) {
    const char c = pattern_[at_];
    CharacterSet set;
    switch (absl::ascii_tolower(static_cast<unsigned char>(c))) {
      case 'd':
        set = sets_.Find("nd");
        break;
      case 's':
        set = sets_.Find("space");
        break;
      case 'w':
        set = sets_.Word(in_class);
        break;
      case 'h':
        set = sets_.Find("xdigit");
        break;
      case 'p': {
        if (at_ + 1 >= pattern_.size() || pattern_[at_ + 1] != '{')
          return std::optional<CharacterSet>();
        const size_t close = pattern_.find('}', at_);
        if (close == absl::string_view::npos) return Unsupported("an open \\p{");
        absl::string_view name = pattern_.substr(at_ + 2, close - at_ - 2);
        const bool inverted = absl::ConsumePrefix(&name, "^");
        set = absl::EqualsIgnoreCase(name, "word") ? sets_.Word(in_class) : sets_.Find(name);
        set.negated ^= inverted;
        at_ = close;
        break;
      }
      default:
        return std::optional<CharacterSet>();
    }
    ++at_;
    if (absl::ascii_isupper(static_cast<unsigned char>(c))) set.negated = !set.negated;
    return std::optional<CharacterSet>(set);
  }

  absl::Status Escape() {
    ++at_;
    if (at_ == pattern_.size()) return Unsupported("a backslash at the end");
    ASSIGN_OR_RETURN(const std::optional<CharacterSet> set, EscapedSet(/*in_class=*/false));
    if (set) {
      Atom(set->Expression());
    } else if (const auto escaped = ReadEscape(pattern_.substr(at_))) {
      Atom(QuoteCharacter(Take(*escaped)));
    } else if (pattern_[at_] == 'b' || pattern_[at_] == 'B') {
      // Between a word character and another one, or not.
      const std::string word = sets_.Word(/*in_class=*/false).Expression();
      const bool between = pattern_[at_++] == 'b';
      Atom(absl::StrCat("(?:(?<=", word, between ? ")(?!" : ")(?=", word, ")|(?<!", word,
                        between ? ")(?=" : ")(?!", word, "))"));
    } else {
      return OtherEscape();
    }
    return absl::OkStatus();
  }

  // Behind a backslash: an anchor, a reference to a group, or a character.
  absl::Status OtherEscape() {
    if (AtOneOf("cCM")) return Unsupported("a control character");
    if (AtOneOf("XyY")) return Unsupported("a text segment");
    const absl::string_view behind = pattern_.substr(at_ + 1, 1);
    const bool named = AtOneOf("kg") && (behind == "<" || behind == "'");
    const bool same = named || AtOneOf("AzZGKRN123456789");  // in both
    const auto octal = ReadOctal(pattern_.substr(at_));
    if (octal && (AtOneOf("0") || octal->size == 3)) {
      Atom(QuoteCharacter(Take(*octal)));
    } else if (Consume("O")) {
      Atom("(?s:.)");
    } else {  // a letter without meaning is itself
      Atom(absl::StrCat(same ? "\\" : "", pattern_.substr(at_++, 1)));
    }
    return absl::OkStatus();
  }

  // --- classes --------------------------------------------------------------------------------

  // Behind "[": up to and with its "]".
  absl::StatusOr<CharacterSet> Class() {
    if (++class_depth_ > 50) return Unsupported("a class nested this deep");
    CharacterSet all;
    std::vector<std::string> intersected;  // what stood before each &&
    const bool negated = Consume("^");
    const size_t first = at_;
    while (true) {
      if (at_ >= pattern_.size()) return Unsupported("an open [");
      if (pattern_[at_] == ']' && at_ != first) break;
      if (Consume("&&")) {
        intersected.push_back(all.Expression());
        all = CharacterSet();
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
      all = CharacterSet();
      all.others.push_back(std::move(expression));
    }
    all.negated = negated;
    return all;
  }

  absl::Status ClassItem(CharacterSet* all) {
    if (Consume("[:")) {
      const size_t close = pattern_.find(":]", at_);
      if (close != absl::string_view::npos) {
        absl::string_view name = pattern_.substr(at_, close - at_);
        at_ = close + 2;
        const bool inverted = absl::ConsumePrefix(&name, "^");
        CharacterSet set = sets_.FindPosix(name);
        set.negated ^= inverted;
        all->Add(set);
        return absl::OkStatus();
      }
      at_ -= 2;
    }
    if (Consume("[")) {
      ASSIGN_OR_RETURN(const CharacterSet inner, Class());
      all->Add(inner);
      return absl::OkStatus();
    }
    char32_t low;
    if (Consume("\\")) {
      if (at_ == pattern_.size()) return Unsupported("a backslash at the end");
      ASSIGN_OR_RETURN(const std::optional<CharacterSet> set, EscapedSet(/*in_class=*/true));
      if (set) {
        all->Add(*set);
        return absl::OkStatus();
      }
      ASSIGN_OR_RETURN(low, ClassEscape());
    } else {
      low = TakeCharacter();
    }
    absl::StrAppend(&all->items, QuoteCharacter(low));
    return ClassRange(all);
  }

  absl::StatusOr<char32_t> ClassEscape() {
    if (Consume("b")) return U'\b';
    if (AtOneOf("cCM")) return Unsupported("a control character");
    if (const auto octal = ReadOctal(pattern_.substr(at_))) return Take(*octal);
    if (const auto escaped = ReadEscape(pattern_.substr(at_))) return Take(*escaped);
    return TakeCharacter();
  }

  // "-x" behind a character, if a range stands there.
  absl::Status ClassRange(CharacterSet* all) {
    const absl::string_view rest = pattern_.substr(at_);
    if (rest.size() < 2 || rest[0] != '-' || rest[1] == ']' || rest[1] == '[') {
      return absl::OkStatus();
    }
    const size_t dash = at_++;
    char32_t high;
    if (Consume("\\")) {
      if (at_ == pattern_.size()) return Unsupported("a backslash at the end");
      if (AtOneOf("dDwWsShHpP")) {  // "-" means itself
        at_ = dash + 1;
        all->items += "\\x2d";
        return absl::OkStatus();
      }
      ASSIGN_OR_RETURN(high, ClassEscape());
    } else {
      high = TakeCharacter();
    }
    absl::StrAppend(&all->items, "-", QuoteCharacter(high));
    return absl::OkStatus();
  }

  struct Group {
    size_t begin;       // in out_
    int option_groups;  // that "(?i)" has opened inside it
  };

  const absl::string_view pattern_;
  const NamedSets sets_;
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
