#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "data/jinja/arguments.h"
#include "data/jinja/filters.h"
#include "data/jinja/format.h"
#include "data/jinja/operators.h"
#include "data/jinja/repr.h"
#include "data/jinja/text.h"

namespace lockstep::data::jinja {

namespace {

Value Absolute(Interpreter&, const Value& value, const Arguments& arguments) {
  BoundArguments("abs", arguments, {});
  if (value.is_float()) return Value::Float(std::abs(value.real()));
  if (value.is_integral()) return value.integer() < 0 ? Negate(value) : Plus(value);
  if (value.is_undefined()) ThrowUndefined(value);
  throw TemplateError(absl::StrCat("bad operand type for abs(): '", TypeName(value), "'"));
}

// The literal with decimal digits of any script as ASCII and single underscores taken out.
std::optional<std::string> PlainNumber(absl::string_view text) {
  std::string out;
  char32_t before = 0;
  for (const char32_t code : Decode(StripSpace(text, kBoth))) {
    if (code == '_') {
      if (!absl::ascii_isalnum(static_cast<unsigned char>(before)) || before > 0x7F) {
        return std::nullopt;
      }
    } else if (const int digit = DecimalValue(code); digit >= 0) {
      out += static_cast<char>('0' + digit);
    } else if (code < 0x80) {
      out += static_cast<char>(code);
    } else {
      return std::nullopt;
    }
    before = code == '_' ? 0 : code < 0x80 ? code : '0';
  }
  if (before == 0) return std::nullopt;  // empty, or an underscore at the end
  return out;
}

std::optional<Int> ParseInteger(absl::string_view text, int64_t base) {
  if (base != 0 && (base < 2 || base > 36)) return std::nullopt;
  std::optional<std::string> plain = PlainNumber(text);
  if (!plain.has_value()) return std::nullopt;
  std::string digits = absl::AsciiStrToLower(*plain);
  const bool negative = digits[0] == '-';
  if (negative || digits[0] == '+') digits.erase(0, 1);
  if (digits.size() > 2 && digits[0] == '0') {
    const int64_t prefix = digits[1] == 'x' ? 16 : digits[1] == 'o' ? 8 : digits[1] == 'b' ? 2 : 0;
    if (prefix != 0 && (base == 0 || base == prefix)) {
      base = prefix;
      digits.erase(0, 2);
    }
  }
  if (base == 0) {
    base = 10;
    if (digits.size() > 1 && digits[0] == '0' &&
        digits.find_first_not_of('0') != std::string::npos) {
      return std::nullopt;
    }
  }
  const absl::string_view all = "0123456789abcdefghijklmnopqrstuvwxyz";
  const bool known = digits.find_first_not_of(all.data(), 0, base) == std::string::npos;
  if (digits.empty() || !known) return std::nullopt;
  const std::optional<Int> value = IntFromDigits(digits, static_cast<int>(base));
  if (!value) throw TemplateError("an integer is out of range (128 bits)");
  return negative ? -*value : *value;
}

std::optional<double> ParseFloat(absl::string_view text) {
  const std::optional<std::string> plain = PlainNumber(text);
  if (!plain.has_value()) return std::nullopt;
  if (plain->find_first_of("xXpP(") != std::string::npos) return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(plain->c_str(), &end);
  if (end == plain->c_str() || *end != '\0') return std::nullopt;
  return value;
}

std::optional<double> ToFloat(const Value& value) {
  if (value.is_number()) return value.as_double();
  if (value.is_string()) return ParseFloat(value.str());
  if (value.is_undefined()) ThrowUndefined(value);
  return std::nullopt;
}

Value ToInteger(Interpreter&, const Value& value, const Arguments& arguments) {
  const BoundArguments bound("int", arguments, {"default", "base"});
  if (value.is_integral()) return Plus(value);
  if (value.is_string()) {
    if (const auto integer = ParseInteger(value.str(), bound.Index(1, 10))) {
      return Value::Integer(*integer);
    }
  }
  const std::optional<double> real = ToFloat(value);
  if (real.has_value() && std::isinf(*real) && value.is_float()) {
    throw TemplateError("cannot convert float infinity to integer");
  }
  if (real.has_value() && std::isfinite(*real)) {
    if (std::abs(*real) > 1.7e38) throw TemplateError("an integer is out of range (128 bits)");
    return Value::Integer(static_cast<Int>(*real));
  }
  return bound.Has(0) ? bound[0] : Value::Integer(0);
}

Value ToReal(Interpreter&, const Value& value, const Arguments& arguments) {
  const BoundArguments bound("float", arguments, {"default"});
  const std::optional<double> real = ToFloat(value);
  if (real.has_value()) return Value::Float(*real);
  return bound.Has(0) ? bound[0] : Value::Float(0);
}

// round(value, precision): exact, halves to even.
double RoundReal(double value, int64_t precision) {
  if (!std::isfinite(value) || precision > 400) return value;
  if (precision >= 0) {
    return std::strtod(FormatDouble(value, 'f', static_cast<int>(precision), false).c_str(),
                       nullptr);
  }
  if (precision < -400) return std::copysign(0.0, value);
  const double unit = std::pow(10.0, static_cast<double>(-precision));
  return std::nearbyint(value / unit) * unit;
}

Int RoundInteger(Int value, int64_t precision) {
  Int unit = 1;
  for (int64_t i = precision; i < 0; ++i) {
    if (__builtin_mul_overflow(unit, Int{10}, &unit)) return 0;
  }
  const Int rest = ((value % unit) + unit) % unit;
  const Int down = value - rest;
  const bool up = rest * 2 > unit || (rest * 2 == unit && (down / unit) % 2 != 0);
  return unit > 1 && up ? down + unit : down;
}

Value Round(Interpreter&, const Value& value, const Arguments& arguments) {
  const BoundArguments bound("round", arguments, {"precision", "method"});
  const int64_t precision = bound.Index(0, 0);
  const std::string method = bound.Has(1) ? Str(bound[1]) : "common";
  if (method != "common" && method != "ceil" && method != "floor") {
    throw TemplateError("method must be common, ceil or floor");
  }
  if (value.is_undefined()) ThrowUndefined(value);
  if (!value.is_number()) {
    throw TemplateError(absl::StrCat("type ", TypeName(value), " doesn't define __round__ method"));
  }
  if (method == "common") {
    if (value.is_float()) return Value::Float(RoundReal(value.real(), precision));
    return Value::Integer(RoundInteger(value.integer(), precision));
  }
  const double unit = std::pow(10.0, static_cast<double>(precision));
  const double scaled = value.as_double() * unit;
  const double whole = method == "ceil" ? std::ceil(scaled) : std::floor(scaled);
  return Value::Float((whole + 0.0) / unit);  // Python's are integers: there is no -0.0
}

Value Default(Interpreter&, const Value& value, const Arguments& arguments) {
  const BoundArguments bound("default", arguments, {"default_value", "boolean"});
  if (value.is_undefined() || (bound.Flag(1, false) && !Truthy(value))) {
    return bound.Has(0) ? bound[0] : Value::String("");
  }
  return value;
}

Value AttributeOf(Interpreter&, const Value& value, const Arguments& arguments) {
  const BoundArguments bound("attr", arguments, {"name"}, 1);
  if (value.is_undefined()) ThrowUndefined(value);
  if (std::optional<Value> found = FindAttribute(value, bound.String(0))) return *found;
  return UndefinedAttribute(value, bound[0]);
}

Value Json(Interpreter&, const Value& value, const Arguments& arguments) {
  const BoundArguments bound("tojson", arguments,
                             {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonOptions options;
  options.ensure_ascii = bound.Flag(0, false);
  options.sort_keys = bound.Flag(3, false);
  if (bound.HasValue(1)) {
    options.has_indent = true;
    options.indent = bound[1].is_string()
                         ? bound[1].str()
                         : std::string(std::clamp<int64_t>(AsIndex(bound[1]), 0, 1000), ' ');
    options.item_separator.assign(1, ',');
  }
  if (bound.HasValue(2)) {
    const std::vector<Value> two = ToVector(bound[2]);
    if (two.size() != 2) throw TemplateError("tojson: separators wants two strings");
    options.item_separator = RequireString(two[0], "tojson");
    options.key_separator = RequireString(two[1], "tojson");
  }
  return Value::String(ToJson(value, options));
}

Value FileSize(Interpreter&, const Value& value, const Arguments& arguments) {
  const BoundArguments bound("filesizeformat", arguments, {"binary"});
  const std::optional<double> bytes = ToFloat(value);
  if (!bytes.has_value()) throw TemplateError("filesizeformat wants a number");
  const bool binary = bound.Flag(0, false);
  const double base = binary ? 1024 : 1000;
  if (*bytes == 1) return Value::String("1 Byte");
  if (*bytes < base) return Value::String(absl::StrCat(static_cast<int64_t>(*bytes), " Bytes"));
  const std::string letters = binary ? "KMGTPEZY" : "kMGTPEZY";
  double unit = base;
  size_t i = 0;
  while (i + 1 < letters.size() && *bytes >= unit * base) {
    unit *= base;
    ++i;
  }
  return Value::String(absl::StrCat(FormatDouble(*bytes / unit, 'f', 1, false), " ",
                                    letters.substr(i, 1), binary ? "iB" : "B"));
}

}  // namespace

Filter FindScalarFilter(absl::string_view name) {
  static const auto& filters = *new absl::flat_hash_map<absl::string_view, Filter>{
      {"abs", Absolute},
      {"attr", AttributeOf},
      {"d", Default},
      {"default", Default},
      {"filesizeformat", FileSize},
      {"float", ToReal},
      {"int", ToInteger},
      {"round", Round},
      {"tojson", Json},
  };
  const auto found = filters.find(name);
  return found == filters.end() ? nullptr : found->second;
}

Filter FindFilter(absl::string_view name) {
  if (const Filter filter = FindStringFilter(name)) return filter;
  if (const Filter filter = FindSequenceFilter(name)) return filter;
  if (const Filter filter = FindSortingFilter(name)) return filter;
  return FindScalarFilter(name);
}

}  // namespace lockstep::data::jinja
