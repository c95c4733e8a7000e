#include "data/jinja/lexer.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/jinja/repr.h"
#include "data/jinja/text.h"

namespace lockstep::data::jinja {

namespace {

constexpr absl::string_view kOperators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                            "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                            ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

bool IsDigitChar(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }

class Lexer {
 public:
  explicit Lexer(absl::string_view source) : source_(NormalizeNewlines(source)) {
    if (absl::EndsWith(source_, "\n")) source_.pop_back();
  }

  std::vector<Token> Run() {
    while (at_ < source_.size()) Root();
    Add(Token::kEnd, "");
    return std::move(tokens_);
  }

 private:
  absl::string_view Rest() const { return absl::string_view(source_).substr(at_); }
  bool At(absl::string_view text) const { return absl::StartsWith(Rest(), text); }
  [[noreturn]] void Fail(const std::string& message) const { throw TemplateError(message, line_); }
  void Add(Token::Kind kind, std::string text, Value value = Value()) {
    tokens_.push_back({kind, line_, std::move(text), std::move(value)});
  }
  void Advance(size_t bytes) {
    line_ +=
        static_cast<int>(std::count(source_.begin() + at_, source_.begin() + at_ + bytes, '\n'));
    at_ += bytes;
  }
  size_t SpaceAt(size_t from) const {
    const absl::string_view rest = absl::string_view(source_).substr(from);
    return rest.size() - StripSpace(rest, kLeft).size();
  }
  void SkipSpace() { Advance(SpaceAt(at_)); }

  // Template text up to the next tag, then what that tag opens.
  void Root() {
    size_t tag = at_;
    do {
      tag = source_.find('{', tag);
      if (tag == std::string::npos || tag + 1 >= source_.size()) {
        tag = std::string::npos;
        break;
      }
      const char next = source_[tag + 1];
      if (next == '{' || next == '%' || next == '#') break;
      ++tag;
    } while (true);
    if (tag == std::string::npos) {
      EmitData(Rest());
      Advance(source_.size() - at_);
      return;
    }
    const char kind = source_[tag + 1];
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : ' ';
    EmitData(Left(source_.substr(at_, tag - at_), kind, sign));
    Advance(tag - at_);
    const size_t opening = sign == '-' || sign == '+' ? 3 : 2;
    if (kind == '#') {
      Advance(opening);
      Comment();
    } else if (kind == '%') {
      if (!Raw(opening)) Tag(Token::kBlockBegin, opening);
    } else {
      Tag(Token::kVariableBegin, opening);
    }
  }

  // `text` before a tag, without the white space that the tag takes away.
  std::string Left(std::string text, char kind, char sign) const {
    if (sign == '-') return std::string(StripSpace(text, kRight));
    if (sign == '+' || kind == '{') return text;
    const size_t newline = text.rfind('\n');
    const size_t begin = newline == std::string::npos ? 0 : newline + 1;
    if (begin == 0 && !line_starting_) return text;
    if (begin < text.size() && StripSpace(absl::string_view(text).substr(begin), kLeft).empty()) {
      text.resize(begin);
    }
    return text;
  }

  void EmitData(absl::string_view text) {
    if (!text.empty()) Add(Token::kData, std::string(text));
  }

  // Behind the closing mark of a block or comment, whose last character but `}` was `sign`.
  void Close(size_t bytes, char sign) {
    Advance(bytes);
    const size_t begin = at_;
    if (sign == '-') {
      SkipSpace();
    } else if (sign != '+' && At("\n")) {
      Advance(1);
    }
    line_starting_ = at_ > begin && source_[at_ - 1] == '\n';
  }

  void Comment() {
    const size_t end = source_.find("#}", at_);
    if (end == std::string::npos) Fail("Missing end of comment tag");
    const char sign = end > at_ ? source_[end - 1] : ' ';
    Advance(end - at_);
    Close(2, sign);
  }

  // {% raw %} … {% endraw %}, if the block at hand is that.
  bool Raw(size_t opening) {
    size_t at = at_ + opening;
    at += SpaceAt(at);
    if (source_.compare(at, 3, "raw") != 0) return false;
    at += 3;
    at += SpaceAt(at);
    const bool strips = source_.compare(at, 3, "-%}") == 0;
    if (!strips && source_.compare(at, 2, "%}") != 0) return false;
    Advance(at + (strips ? 3 : 2) - at_);
    if (strips) SkipSpace();
    line_starting_ = source_[at_ - 1] == '\n';
    for (size_t end = source_.find("{%", at_); end != std::string::npos;
         end = source_.find("{%", end + 1)) {
      const char sign = end + 2 < source_.size() ? source_[end + 2] : ' ';
      size_t behind = end + (sign == '-' || sign == '+' ? 3 : 2);
      behind += SpaceAt(behind);
      if (source_.compare(behind, 6, "endraw") != 0) continue;
      behind += 6;
      behind += SpaceAt(behind);
      const char last = behind < source_.size() ? source_[behind] : ' ';
      if (last == '-' || last == '+') ++behind;
      if (source_.compare(behind, 2, "%}") != 0) continue;
      EmitData(Left(source_.substr(at_, end - at_), '%', sign));
      Advance(behind - at_);
      Close(2, last);
      return true;
    }
    Fail("Missing end of raw directive");
  }

  // The inside of {{ }} or {% %}.
  void Tag(Token::Kind begin, size_t opening) {
    Add(begin, "");
    Advance(opening);
    const bool block = begin == Token::kBlockBegin;
    const absl::string_view end = block ? "%}" : "}}";
    std::string open;  // brackets
    while (true) {
      if (at_ >= source_.size()) return;  // the parser reports it
      if (open.empty()) {
        const char sign = source_[at_];
        const bool signed_end =
            (sign == '-' || (block && sign == '+')) && absl::StartsWith(Rest().substr(1), end);
        if (signed_end || At(end)) {
          Add(block ? Token::kBlockEnd : Token::kVariableEnd, "");
          if (block) {
            Close(signed_end ? 3 : 2, signed_end ? sign : ' ');
          } else {
            Advance(signed_end ? 3 : 2);
            const size_t behind = at_;
            if (signed_end) SkipSpace();
            line_starting_ = at_ > behind && source_[at_ - 1] == '\n';
          }
          return;
        }
      }
      Expression(&open);
    }
  }

  void Expression(std::string* open) {
    const size_t space = SpaceAt(at_);
    if (space > 0) return Advance(space);
    const char c = source_[at_];
    if (IsDigitChar(c)) return Number();
    if (c == '"' || c == '\'') return String(c);
    size_t end = at_;
    while (end < source_.size()) {
      size_t next = end;
      if (!IsWord(NextCodePoint(source_, &next))) break;
      end = next;
    }
    if (end > at_) {
      const std::string name = source_.substr(at_, end - at_);
      if (!IsIdentifier(name)) Fail("Invalid character in identifier");
      Add(Token::kName, name);
      return Advance(end - at_);
    }
    for (const absl::string_view op : kOperators) {
      if (!At(op)) continue;
      if (op == "(" || op == "[" || op == "{") {
        *open += op == "(" ? ')' : op == "[" ? ']' : '}';
      } else if (op == ")" || op == "]" || op == "}") {
        if (open->empty()) Fail(absl::StrCat("unexpected '", op, "'"));
        if (open->back() != op[0]) {
          Fail(absl::StrCat("unexpected '", op, "', expected '", open->substr(open->size() - 1),
                            "'"));
        }
        open->pop_back();
      }
      Add(Token::kOperator, std::string(op));
      return Advance(op.size());
    }
    size_t next = at_;
    NextCodePoint(source_, &next);
    Fail(absl::StrCat("unexpected char ", QuoteString(source_.substr(at_, next - at_))));
  }

  // Digits of `base`, single underscores between them; the end behind the last, or `from`.
  size_t Digits(size_t from, int base) const {
    size_t end = from;
    for (size_t i = from; i < source_.size(); ++i) {
      if (source_[i] == '_' && i > from && source_[i - 1] != '_') continue;
      const unsigned char c = absl::ascii_tolower(source_[i]);
      const int digit = IsDigitChar(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
      if (digit >= base) break;
      end = i + 1;
    }
    return end;
  }

  void Number() {
    const size_t whole = Digits(at_, 10);
    size_t end = whole;
    if (end + 1 < source_.size() && source_[end] == '.' && IsDigitChar(source_[end + 1])) {
      end = Digits(end + 1, 10);
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      size_t exponent = end + 1;
      if (exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-')) {
        ++exponent;
      }
      const size_t behind = Digits(exponent, 10);
      if (behind > exponent) end = behind;
    }
    const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
    if (end > whole && !after_dot) {
      std::string text = source_.substr(at_, end - at_);
      std::erase(text, '_');
      Add(Token::kFloat, text, Value::Float(std::strtod(text.c_str(), nullptr)));
      return Advance(end - at_);
    }
    Integer();
  }

  void Integer() {
    int base = 10;
    size_t begin = at_;
    if (source_[at_] == '0' && at_ + 1 < source_.size()) {
      const char kind = absl::ascii_tolower(source_[at_ + 1]);
      const int prefixed = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
      const size_t digits = at_ + 2 + (at_ + 2 < source_.size() && source_[at_ + 2] == '_');
      if (prefixed != 10 && Digits(digits, prefixed) > digits) {
        base = prefixed;
        begin = digits;
      }
    }
    size_t end = Digits(begin, base);
    if (base == 10 && source_[begin] == '0') {  // zeros alone: 007 is not a number
      end = begin;
      while (end < source_.size() &&
             (source_[end] == '0' ||
              (source_[end] == '_' && end + 1 < source_.size() && source_[end + 1] == '0'))) {
        ++end;
      }
    }
    std::string digits = source_.substr(begin, end - begin);
    std::erase(digits, '_');
    const std::optional<Int> value = IntFromDigits(digits, base);
    if (!value) Fail("the number is out of range");
    Add(Token::kInteger, source_.substr(at_, end - at_), Value::Integer(*value));
    Advance(end - at_);
  }

  void String(char quote) {
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) {
      Fail(absl::StrCat("unexpected char ", QuoteString(std::string(1, quote))));
    }
    Add(Token::kString, Unescape(absl::string_view(source_).substr(at_ + 1, end - at_ - 1)));
    Advance(end + 1 - at_);
  }

  // Python's escapes in a string literal.
  std::string Unescape(absl::string_view text) const {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\') {
        out += text[i];
        continue;
      }
      const char c = text[++i];
      constexpr absl::string_view kLetters = "abfnrtv";
      const size_t letter = kLetters.find(c);
      if (letter != absl::string_view::npos) {
        out += "\a\b\f\n\r\t\v"[letter];
      } else if (c == '\\' || c == '\'' || c == '"') {
        out += c;
      } else if (c == '\n') {
        // an escaped end of line is nothing
      } else if (c == 'x' || c == 'u' || c == 'U') {
        i = Hexadecimal(text, i, c == 'x' ? 2 : c == 'u' ? 4 : 8, &out);
      } else if (c >= '0' && c <= '7') {
        char32_t code = 0;
        size_t digits = 0;
        for (; digits < 3 && i < text.size() && text[i] >= '0' && text[i] <= '7'; ++digits, ++i) {
          code = code * 8 + (text[i] - '0');
        }
        --i;
        AppendUtf8(code, &out);
      } else if (c == 'N') {
        const size_t close = std::min(text.find('}', i), text.size());
        const auto code = CharacterOfName(text.substr(i, close + 1 - i));
        if (!code.has_value()) Fail("unknown Unicode character name in a string");
        AppendUtf8(*code, &out);
        i = close;
      } else {
        out += '\\';
        out += c;
      }
    }
    return out;
  }

  size_t Hexadecimal(absl::string_view text, size_t i, size_t digits, std::string* out) const {
    char32_t code = 0;
    for (size_t k = 1; k <= digits; ++k) {
      const char c = i + k < text.size() ? absl::ascii_tolower(text[i + k]) : ' ';
      const bool letter = c >= 'a' && c <= 'f';
      if (!IsDigitChar(c) && !letter) Fail("truncated escape in a string");
      code = code * 16 + (letter ? c - 'a' + 10 : c - '0');
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
      Fail("an escape in a string is no character");
    }
    AppendUtf8(code, out);
    return i + digits;
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // white space from here to a tag may be dropped
  std::vector<Token> tokens_;
};

}  // namespace

std::string Describe(const Token& token) {
  switch (token.kind) {
    case Token::kData:
      return "template data / text";
    case Token::kVariableBegin:
      return "begin of print statement";
    case Token::kVariableEnd:
      return "end of print statement";
    case Token::kBlockBegin:
      return "begin of statement block";
    case Token::kBlockEnd:
      return "end of statement block";
    case Token::kEnd:
      return "end of template";
    case Token::kString:
      return "string";
    case Token::kInteger:
      return "integer";
    case Token::kFloat:
      return "float";
    default:
      return token.text;
  }
}

std::vector<Token> Tokenize(absl::string_view source) { return Lexer(source).Run(); }

}  // namespace lockstep::data::jinja
