#include "data/jinja/repr.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/jinja/text.h"

namespace lockstep::data::jinja {

namespace {

constexpr int kMaxReprDepth = 2 * kMaxDepth;  // namespaces may hold themselves

void Grow(const std::string& out, int depth) {
  if (static_cast<int64_t>(out.size()) > kMaxWeight) throw TemplateError("a text is too long");
  if (depth > kMaxReprDepth) throw TemplateError("maximum recursion depth exceeded");
}

void AppendRepr(const Value& value, int depth, std::string* out);

void AppendItems(const std::vector<Value>& items, int depth, std::string* out) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) *out += ", ";
    AppendRepr(items[i], depth + 1, out);
  }
}

void AppendPairs(const std::vector<std::pair<Value, Value>>& items, int depth, std::string* out) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) *out += ", ";
    AppendRepr(items[i].first, depth + 1, out);
    *out += ": ";
    AppendRepr(items[i].second, depth + 1, out);
  }
}

void AppendRepr(const Value& value, int depth, std::string* out) {
  Grow(*out, depth);
  switch (value.type()) {
    case Type::kUndefined:
      *out += "Undefined";
      return;
    case Type::kNone:
      *out += "None";
      return;
    case Type::kBool:
      *out += value.boolean() ? "True" : "False";
      return;
    case Type::kInt:
      *out += IntToString(value.integer());
      return;
    case Type::kFloat:
      *out += FloatToString(value.real());
      return;
    case Type::kString:
      absl::StrAppend(out, value.is_markup() ? "Markup(" : "", QuoteString(value.str()),
                      value.is_markup() ? ")" : "");
      return;
    case Type::kList:
      *out += "[";
      AppendItems(value.items(), depth, out);
      *out += "]";
      return;
    case Type::kTuple:
      *out += "(";
      AppendItems(value.items(), depth, out);
      *out += value.items().size() == 1 ? ",)" : ")";
      return;
    case Type::kDict:
      *out += "{";
      AppendPairs(value.dict().items, depth, out);
      *out += "}";
      return;
    case Type::kView:
      absl::StrAppend(out, TypeName(value), "([");
      AppendItems(ToVector(value), depth, out);
      *out += "])";
      return;
    case Type::kRange: {
      const RangeObject& range = value.range();
      absl::StrAppend(out, "range(", IntToString(range.start), ", ", IntToString(range.stop));
      if (range.step != 1) absl::StrAppend(out, ", ", IntToString(range.step));
      *out += ")";
      return;
    }
    case Type::kIterator:
      absl::StrAppend(out, "<", TypeName(value), " object>");
      return;
    case Type::kCustom:
      *out += value.custom().Repr(depth + 1);
      return;
  }
}

void AppendJsonString(absl::string_view text, bool ascii, std::string* out) {
  *out += '"';
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const char32_t code = NextCodePoint(text, &at);
    switch (code) {
      case '"':
        *out += "\\\"";
        break;
      case '\\':
        *out += "\\\\";
        break;
      case '\n':
        *out += "\\n";
        break;
      case '\r':
        *out += "\\r";
        break;
      case '\t':
        *out += "\\t";
        break;
      case '\b':
        *out += "\\b";
        break;
      case '\f':
        *out += "\\f";
        break;
      default:
        if (code < 0x20 || (ascii && code > 0x7E && code < 0x10000)) {
          absl::StrAppendFormat(out, "\\u%04x", static_cast<uint32_t>(code));
        } else if (ascii && code >= 0x10000) {
          absl::StrAppendFormat(out, "\\u%04x\\u%04x", static_cast<uint32_t>(0xD7C0 + (code >> 10)),
                                static_cast<uint32_t>(0xDC00 + (code & 0x3FF)));
        } else {
          out->append(text.data() + begin, at - begin);
        }
    }
  }
  *out += '"';
}

class JsonWriter {
 public:
  explicit JsonWriter(const JsonOptions& options) : options_(options) {}

  void Write(const Value& value, int depth) {
    Grow(out, depth);
    switch (value.type()) {
      case Type::kNone:
        out += "null";
        return;
      case Type::kBool:
        out += value.boolean() ? "true" : "false";
        return;
      case Type::kInt:
        out += IntToString(value.integer());
        return;
      case Type::kFloat:
        out += Number(value.real());
        return;
      case Type::kString:
        AppendJsonString(value.str(), options_.ensure_ascii, &out);
        return;
      case Type::kList:
      case Type::kTuple:
        WriteList(value.items(), depth);
        return;
      case Type::kDict:
        WriteDict(value.dict(), depth);
        return;
      default:
        throw TemplateError(
            absl::StrCat("Object of type ", TypeName(value), " is not JSON serializable"));
    }
  }

  std::string out;

 private:
  static std::string Number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return FloatToString(value);
  }

  void Separate(bool first, bool last, int depth) {
    if (!first && !last) out += options_.item_separator;
    if (!options_.has_indent) return;
    out += '\n';
    for (int i = 0; i < depth; ++i) out += options_.indent;
  }

  void WriteList(const std::vector<Value>& items, int depth) {
    if (items.empty()) {
      out += "[]";
      return;
    }
    out += '[';
    for (size_t i = 0; i < items.size(); ++i) {
      Separate(i == 0, /*last=*/false, depth + 1);
      Write(items[i], depth + 1);
    }
    Separate(/*first=*/false, /*last=*/true, depth);
    out += ']';
  }

  static std::string Key(const Value& key) {
    switch (key.type()) {
      case Type::kString:
        return key.str();
      case Type::kNone:
        return "null";
      case Type::kBool:
        return key.boolean() ? "true" : "false";
      case Type::kInt:
        return IntToString(key.integer());
      case Type::kFloat:
        return Number(key.real());
      default:
        throw TemplateError(
            absl::StrCat("keys must be str, int, float, bool or None, not ", TypeName(key)));
    }
  }

  void WriteDict(const DictObject& dict, int depth) {
    if (dict.items.empty()) {
      out += "{}";
      return;
    }
    std::vector<const std::pair<Value, Value>*> items;
    for (const auto& item : dict.items) items.push_back(&item);
    if (options_.sort_keys) {
      std::stable_sort(items.begin(), items.end(), [](const auto* a, const auto* b) {
        if (a->first.is_number() && b->first.is_number()) {
          return a->first.as_double() < b->first.as_double();
        }
        if (!a->first.is_string() || !b->first.is_string()) {
          throw TemplateError(absl::StrCat("'<' not supported between instances of '",
                                           TypeName(a->first), "' and '", TypeName(b->first), "'"));
        }
        return a->first.str() < b->first.str();
      });
    }
    out += '{';
    for (size_t i = 0; i < items.size(); ++i) {
      Separate(i == 0, /*last=*/false, depth + 1);
      AppendJsonString(Key(items[i]->first), options_.ensure_ascii, &out);
      out += options_.key_separator;
      Write(items[i]->second, depth + 1);
    }
    Separate(/*first=*/false, /*last=*/true, depth);
    out += '}';
  }

  const JsonOptions& options_;
};

}  // namespace

std::string IntToString(Int value) {
  const bool negative = value < 0;
  unsigned __int128 rest = negative ? -static_cast<unsigned __int128>(value) : value;
  std::string digits;
  do {
    digits.push_back(static_cast<char>('0' + static_cast<int>(rest % 10)));
    rest /= 10;
  } while (rest != 0);
  if (negative) digits.push_back('-');
  std::reverse(digits.begin(), digits.end());
  return digits;
}

std::optional<Int> IntFromDigits(absl::string_view digits, int base) {
  Int value = 0;
  for (const char c : digits) {
    const int digit = absl::ascii_isdigit(c)
                          ? c - '0'
                          : absl::ascii_tolower(static_cast<unsigned char>(c)) - 'a' + 10;
    if (__builtin_mul_overflow(value, Int{base}, &value) ||
        __builtin_add_overflow(value, Int{digit}, &value)) {
      return std::nullopt;
    }
  }
  return value;
}

std::string FloatToString(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[32];
  const auto shortest =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  const std::string scientific(buffer, shortest.ptr);  // d.ddde±xx
  const size_t e = scientific.find('e');
  const int exponent = std::stoi(scientific.substr(e + 1));
  if (exponent < -4 || exponent >= 16) return scientific;
  const bool negative = scientific[0] == '-';
  std::string digits = scientific.substr(negative, e - negative);
  digits.erase(std::remove(digits.begin(), digits.end(), '.'), digits.end());
  const int size = static_cast<int>(digits.size());
  if (exponent < 0) {
    digits = "0." + std::string(-exponent - 1, '0') + digits;
  } else if (size <= exponent + 1) {
    digits += std::string(exponent + 1 - size, '0') + ".0";
  } else {
    digits.insert(exponent + 1, ".");
  }
  return (negative ? "-" : "") + digits;
}

std::string QuoteString(absl::string_view text) {
  const bool single = text.find('\'') != absl::string_view::npos;
  const char quote = single && text.find('"') == absl::string_view::npos ? '"' : '\'';
  std::string out(1, quote);
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const char32_t code = NextCodePoint(text, &at);
    const uint32_t number = code;
    if (code == static_cast<unsigned char>(quote) || code == '\\') {
      out += '\\';
      out += static_cast<char>(code);
    } else if (code == '\n') {
      out += "\\n";
    } else if (code == '\r') {
      out += "\\r";
    } else if (code == '\t') {
      out += "\\t";
    } else if (IsPrintable(code)) {
      out.append(text.data() + begin, at - begin);
    } else if (code < 0x100) {
      absl::StrAppendFormat(&out, "\\x%02x", number);
    } else if (code < 0x10000) {
      absl::StrAppendFormat(&out, "\\u%04x", number);
    } else {
      absl::StrAppendFormat(&out, "\\U%08x", number);
    }
  }
  return out + quote;
}

std::string Str(const Value& value) {
  if (value.is_string()) return value.str();
  if (value.is_undefined()) return "";
  return Repr(value);
}

std::string Repr(const Value& value, int depth) {
  std::string out;
  AppendRepr(value, depth, &out);
  return out;
}

std::string ToJson(const Value& value, const JsonOptions& options) {
  JsonWriter writer(options);
  writer.Write(value, 0);
  return std::move(writer.out);
}

}  // namespace lockstep::data::jinja
