// format.h: str.format; format.cc has the rest.
#include <algorithm>

#include "absl/strings/numbers.h"
#include "data/jinja/format.h"
#include "data/jinja/operators.h"
#include "data/jinja/repr.h"
#include "data/jinja/text.h"

namespace lockstep::data::jinja {

namespace {

class BraceFormatter {
 public:
  BraceFormatter(const Arguments& arguments, bool markup)
      : arguments_(arguments), markup_(markup) {}

  std::string Format(absl::string_view text, int depth) {
    if (depth > 2) throw TemplateError("Max string recursion exceeded");
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const char c = text[at++];
      if (c != '{' && c != '}') {
        out += c;
        continue;
      }
      if (at < text.size() && text[at] == c) {
        out += c;
        ++at;
        continue;
      }
      if (c == '}') throw TemplateError("Single '}' encountered in format string");
      int open = 1;
      const size_t begin = at;
      for (; at < text.size(); ++at) {
        if (text[at] == '{') ++open;
        if (text[at] == '}' && --open == 0) break;
      }
      if (at >= text.size()) throw TemplateError("expected '}' before end of string");
      out += Field(text.substr(begin, at++ - begin), depth);
    }
    return out;
  }

 private:
  std::string Field(absl::string_view field, int depth) {
    size_t end = 0;
    for (int brackets = 0; end < field.size(); ++end) {
      if (field[end] == '[') ++brackets;
      if (field[end] == ']') --brackets;
      if (brackets == 0 && (field[end] == '!' || field[end] == ':')) break;
    }
    Value value = Lookup(field.substr(0, end));
    if (end < field.size() && field[end] == '!') {
      const char conversion = end + 1 < field.size() ? field[end + 1] : ' ';
      if (conversion != 's' && conversion != 'r' && conversion != 'a') {
        throw TemplateError("unknown conversion in a format string");
      }
      value = Value::String(conversion == 's' ? Str(value) : Repr(value));
      end += 2;
    }
    const std::string spec =
        end < field.size() ? Format(field.substr(end + 1), depth + 1) : std::string();
    const std::string text = FormatField(value, spec);
    return markup_ && !value.is_markup() ? EscapeHtml(text) : text;
  }

  Value Lookup(absl::string_view path) {
    const size_t end = std::min(path.find_first_of(".["), path.size());
    Value value = First(path.substr(0, end));
    for (size_t at = end; at < path.size();) {
      if (path[at] == '.') {
        const size_t next = std::min(path.find_first_of(".[", at + 1), path.size());
        value = GetAttribute(value, Value::String(std::string(path.substr(at + 1, next - at - 1))));
        at = next;
        continue;
      }
      const size_t close = path.find(']', at);
      if (close == absl::string_view::npos) throw TemplateError("Missing ']' in format string");
      value = GetItem(value, Key(path.substr(at + 1, close - at - 1)));
      at = close + 1;
    }
    return value;
  }

  static Value Key(absl::string_view text) {
    int64_t index;
    if (absl::SimpleAtoi(text, &index) && index >= 0) return Value::Integer(index);
    return Value::String(std::string(text));
  }

  Value First(absl::string_view name) {
    const Value key = name.empty() ? Value::Integer(next_++) : Key(name);
    if (key.is_int()) {
      if (key.integer() >= static_cast<Int>(arguments_.positional.size())) {
        throw TemplateError("Replacement index out of range for positional args tuple");
      }
      return arguments_.positional[static_cast<size_t>(key.integer())];
    }
    for (const auto& [keyword, value] : arguments_.keyword) {
      if (keyword == name) return value;
    }
    throw TemplateError(QuoteString(name));
  }

  const Arguments& arguments_;
  const bool markup_;
  int64_t next_ = 0;
};

}  // namespace

Value BraceFormat(const Value& format, const Arguments& arguments) {
  return Text(BraceFormatter(arguments, format.is_markup()).Format(format.str(), 0), format);
}

}  // namespace lockstep::data::jinja
