// pprint.pformat, as CPython lays it out.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/jinja/operators.h"
#include "data/jinja/repr.h"
#include "data/jinja/text.h"
#include "data/jinja/text_wrap.h"

namespace lockstep::data::jinja {

namespace {

constexpr int64_t kWidth = 80;

using Items = std::vector<std::pair<Value, Value>>;

Items SortedItems(const Value& dict) {
  Items items = dict.dict().items;
  std::stable_sort(items.begin(), items.end(), [](const auto& a, const auto& b) {
    try {
      return Less(a.first, b.first);
    } catch (const TemplateError&) {  // keys of types that have no order between them
      return TypeName(a.first) < TypeName(b.first);
    }
  });
  return items;
}

// The same value with all its dicts sorted.
Value WithSortedDicts(const Value& value) {
  if (value.is_dict()) {
    Items items = SortedItems(value);
    for (auto& [key, item] : items) item = WithSortedDicts(item);
    return Value::Dict(std::move(items));
  }
  if (!value.is_sequence() || value.is_group()) return value;
  std::vector<Value> items;
  for (const Value& item : value.items()) items.push_back(WithSortedDicts(item));
  return value.is_list() ? Value::List(std::move(items)) : Value::Tuple(std::move(items));
}

// Words of a line, each with the white space behind it.
std::vector<std::string> Words(absl::string_view line) {
  std::vector<std::string> out;
  bool in_space = true;
  for (size_t at = 0; at < line.size();) {
    const size_t begin = at;
    const bool space = IsSpace(NextCodePoint(line, &at));
    if (out.empty() || (in_space && !space)) out.emplace_back();
    out.back().append(line.data() + begin, at - begin);
    in_space = space;
  }
  return out;
}

class Printer {
 public:
  // `allowance`: columns that must stay free behind the value; `level`: 0 for the outermost.
  void Print(const Value& value, int64_t indent, int64_t allowance, int level) {
    const std::string plain = Repr(value);
    const bool fits = CountCodePoints(plain) <= kWidth - indent - allowance;
    const bool composed = value.is_dict() || (value.is_sequence() && !value.is_group()) ||
                          (value.is_string() && !value.is_markup());
    if (fits || !composed) {
      out += plain;
    } else if (value.is_dict()) {
      PrintDict(value, indent + 1, allowance + 1, level + 1);
    } else if (value.is_string()) {
      PrintString(value.str(), indent, allowance, level);
    } else {
      const std::string close = value.is_list() ? "]" : value.items().size() == 1 ? ",)" : ")";
      out += value.is_list() ? "[" : "(";
      PrintItems(value.items(), indent + 1, allowance + static_cast<int64_t>(close.size()),
                 level + 1);
      out += close;
    }
    if (static_cast<int64_t>(out.size()) > kMaxWeight) throw TemplateError("a text is too long");
  }

  std::string out;

 private:
  void NextLine(int64_t indent) { absl::StrAppend(&out, "\n", std::string(indent, ' ')); }

  void PrintDict(const Value& dict, int64_t indent, int64_t allowance, int level) {
    out += '{';
    const Items& items = dict.dict().items;
    for (size_t i = 0; i < items.size(); ++i) {
      const std::string key = Repr(items[i].first);
      absl::StrAppend(&out, key, ": ");
      const bool last = i + 1 == items.size();
      Print(items[i].second, indent + CountCodePoints(key) + 2, last ? allowance : 1, level);
      if (last) break;
      out += ',';
      NextLine(indent);
    }
    out += '}';
  }

  void PrintItems(const std::vector<Value>& items, int64_t indent, int64_t allowance, int level) {
    for (size_t i = 0; i < items.size(); ++i) {
      const bool last = i + 1 == items.size();
      Print(items[i], indent, last ? allowance : 1, level);
      if (last) break;
      out += ',';
      NextLine(indent);
    }
  }

  void PrintString(const std::string& text, int64_t indent, int64_t allowance, int level) {
    const bool outermost = level == 0;
    indent += outermost;
    allowance += outermost;
    const std::vector<std::string> parts = StringParts(text, kWidth - indent, allowance);
    if (outermost && parts.size() > 1) out += '(';
    for (size_t i = 0; i < parts.size(); ++i) {
      if (i > 0) NextLine(indent);
      out += parts[i];
    }
    if (outermost && parts.size() > 1) out += ')';
  }

  // The literals that a string is written as: its lines, and of long ones as many words as fit.
  static std::vector<std::string> StringParts(const std::string& text, int64_t width,
                                              int64_t allowance) {
    std::vector<std::string> parts;
    const std::vector<absl::string_view> lines = SplitLines(text, /*keep_ends=*/true);
    for (size_t i = 0; i < lines.size(); ++i) {
      const bool last_line = i + 1 == lines.size();
      const std::string whole = QuoteString(lines[i]);
      if (CountCodePoints(whole) <= width - (last_line ? allowance : 0)) {
        parts.push_back(whole);
        continue;
      }
      std::string current;
      const std::vector<std::string> words = Words(lines[i]);
      for (size_t j = 0; j < words.size(); ++j) {
        const int64_t room = width - (last_line && j + 1 == words.size() ? allowance : 0);
        if (CountCodePoints(QuoteString(current + words[j])) <= room) {
          current += words[j];
          continue;
        }
        if (!current.empty()) parts.push_back(QuoteString(current));
        current = words[j];
      }
      if (!current.empty()) parts.push_back(QuoteString(current));
    }
    return parts;
  }
};

}  // namespace

std::string PrettyRepr(const Value& value) {
  Printer printer;
  printer.Print(WithSortedDicts(value), 0, 0, 0);
  return std::move(printer.out);
}

}  // namespace lockstep::data::jinja
