#include "data/jinja/format.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "data/jinja/operators.h"
#include "data/jinja/repr.h"
#include "data/jinja/text.h"

namespace lockstep::data::jinja {

namespace {

constexpr int kMaxWidth = 1'000'000;

struct Spec {
  std::string fill = " ";
  char align = 0;  // < > = ^
  char sign = '-';
  bool alternate = false;
  bool zero = false;
  int width = 0;
  char grouping = 0;  // , or _
  int precision = -1;
  char type = 0;
};

int ReadNumber(absl::string_view text, size_t* at) {
  int value = 0;
  while (*at < text.size() && text[*at] >= '0' && text[*at] <= '9') {
    value = value * 10 + (text[(*at)++] - '0');
    if (value > kMaxWidth) throw TemplateError("a width or precision is too large");
  }
  return value;
}

std::string Pad(std::string text, const Spec& spec, char default_align, size_t sign_size = 0) {
  const int64_t missing = spec.width - CountCodePoints(text);
  if (missing <= 0) return text;
  const char align = spec.align != 0 ? spec.align : default_align;
  const int64_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  std::string before, after;
  for (int64_t i = 0; i < left; ++i) before += spec.fill;
  for (int64_t i = left; i < missing; ++i) after += spec.fill;
  if (align == '=') return text.substr(0, sign_size) + before + text.substr(sign_size);
  return before + text + after;
}

std::string Digits(Int magnitude, int base, bool upper) {
  const absl::string_view digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
  unsigned __int128 rest = static_cast<unsigned __int128>(magnitude);
  if (magnitude < 0) rest = -rest;
  std::string out;
  do {
    const int digit = static_cast<int>(rest % static_cast<unsigned>(base));
    out.push_back(digits[digit]);
    rest /= static_cast<unsigned>(base);
  } while (rest != 0);
  std::reverse(out.begin(), out.end());
  return out;
}

std::string Group(std::string digits, char separator, int size) {
  for (int at = static_cast<int>(digits.size()) - size; at > 0; at -= size) {
    digits.insert(at, 1, separator);
  }
  return digits;
}

std::string SignOf(bool negative, char sign) {
  if (negative) return "-";
  return sign == '+' ? "+" : sign == ' ' ? " " : "";
}

std::string FormatInteger(Int value, const Spec& spec) {
  const char type = spec.type == 0 || spec.type == 'n' ? 'd' : spec.type;
  if (spec.precision >= 0) throw TemplateError("Precision not allowed in integer format specifier");
  if (type == 'c') {
    if (value < 0 || value > 0x10FFFF) throw TemplateError("%c arg not in range(0x110000)");
    std::string out;
    AppendUtf8(static_cast<char32_t>(value), &out);
    return Pad(out, spec, '<');
  }
  const int base = type == 'x' || type == 'X' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
  std::string digits = Digits(value, base, type == 'X');
  if (spec.grouping != 0) digits = Group(digits, spec.grouping, base == 10 ? 3 : 4);
  std::string sign = SignOf(value < 0, spec.sign);
  if (spec.alternate && base != 10) sign += std::string("0") + type;
  return Pad(sign + digits, spec, '>', sign.size());
}

std::string FormatReal(double value, const Spec& spec) {
  const bool negative = std::signbit(value) && !std::isnan(value);
  std::string text;
  const double magnitude = std::abs(value);
  if (spec.type == '%') {
    text = FormatDouble(magnitude * 100, 'f', spec.precision < 0 ? 6 : spec.precision,
                        spec.alternate) +
           "%";
  } else if (spec.type == 0 && spec.precision < 0) {
    text = FloatToString(magnitude);
  } else if (spec.type == 0) {
    text = FormatDouble(magnitude, 'g', std::max(spec.precision, 1), spec.alternate);
    if (text.find_first_of(".en") == std::string::npos) text += ".0";
  } else {
    text = FormatDouble(magnitude, spec.type == 'n' ? 'g' : spec.type,
                        spec.precision < 0 ? 6 : spec.precision, spec.alternate);
  }
  if (spec.grouping != 0) {
    const size_t whole = std::min(text.find_first_not_of("0123456789"), text.size());
    text = Group(text.substr(0, whole), spec.grouping, 3) + text.substr(whole);
  }
  const std::string sign = SignOf(negative, spec.sign);
  return Pad(sign + text, spec, '>', sign.size());
}

Spec ParseSpec(absl::string_view text) {
  Spec spec;
  size_t at = 0;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '=' || c == '^'; };
  if (!text.empty()) {
    size_t behind = 0;
    NextCodePoint(text, &behind);
    if (behind < text.size() && is_align(text[behind])) {
      spec.fill = std::string(text.substr(0, behind));
      spec.align = text[behind];
      at = behind + 1;
    } else if (is_align(text[0])) {
      spec.align = text[0];
      at = 1;
    }
  }
  const auto take = [&](char c) {
    return at < text.size() && text[at] == c ? (++at, true) : false;
  };
  if (take('+')) {
    spec.sign = '+';
  } else if (take(' ')) {
    spec.sign = ' ';
  } else {
    take('-');
  }
  spec.alternate = take('#');
  if (take('0') && spec.align == 0) {
    spec.fill = "0";
    spec.align = '=';
    spec.zero = true;
  }
  spec.width = ReadNumber(text, &at);
  if (take(',')) spec.grouping = ',';
  if (take('_')) spec.grouping = '_';
  if (take('.')) {
    const size_t begin = at;
    spec.precision = ReadNumber(text, &at);
    if (at == begin) throw TemplateError("Format specifier missing precision");
  }
  if (at < text.size()) spec.type = text[at++];
  if (at < text.size()) throw TemplateError("Invalid format specifier");
  return spec;
}

}  // namespace

std::string FormatDouble(double value, char conversion, int precision, bool alternate) {
  if (std::isnan(value) || std::isinf(value)) {
    std::string text = std::isnan(value) ? "nan" : value < 0 ? "-inf" : "inf";
    const bool upper = conversion >= 'A' && conversion <= 'Z';
    return upper ? Upper(text) : text;
  }
  const std::string format = std::string(alternate ? "%#.*" : "%.*") + conversion;
  const int size = std::snprintf(nullptr, 0, format.c_str(), precision, value);
  std::string out(size + 1, '\0');
  std::snprintf(out.data(), out.size(), format.c_str(), precision, value);
  out.resize(size);
  return out;
}

std::string FormatField(const Value& value, absl::string_view text) {
  if (text.empty()) return Str(value);
  Spec spec = ParseSpec(text);
  const auto unknown = [&] {
    throw TemplateError(absl::StrCat("Unknown format code '", std::string(1, spec.type),
                                     "' for object of type '", TypeName(value), "'"));
  };
  if (value.is_string()) {
    if (spec.type != 0 && spec.type != 's') unknown();
    if (spec.zero) spec.align = '<';
    if (spec.align == '=') {
      throw TemplateError("'=' alignment not allowed in string format specifier");
    }
    std::string out = value.str();
    if (spec.precision >= 0) out = out.substr(0, ByteOffset(out, spec.precision));
    return Pad(out, spec, '<');
  }
  if (value.is_number()) {
    const std::string real = "eEfFgG%";
    if (value.is_bool() && spec.type == 0) return FormatInteger(value.integer(), spec);
    if (value.is_float() || (spec.type != 0 && real.find(spec.type) != std::string::npos)) {
      if (spec.type != 0 && spec.type != 'n' && real.find(spec.type) == std::string::npos)
        unknown();
      return FormatReal(value.as_double(), spec);
    }
    if (std::string("bcdoxXn").find(spec.type) == std::string::npos && spec.type != 0) unknown();
    return FormatInteger(value.integer(), spec);
  }
  throw TemplateError(
      absl::StrCat("unsupported format string passed to ", TypeName(value), ".__format__"));
}

namespace {

// One %-conversion of one value.
std::string Convert(const Value& value, const Spec& base, bool markup) {
  Spec spec = base;
  const char type = spec.type;
  if (type == 's' || type == 'r' || type == 'a') {
    std::string out = type == 's' ? Str(value) : Repr(value);
    if (markup) out = type == 's' ? Escaped(value) : EscapeHtml(out);
    if (spec.precision >= 0) out = out.substr(0, ByteOffset(out, spec.precision));
    if (spec.align == '=') spec.align = '>', spec.fill = " ";
    return Pad(out, spec, '>');
  }
  if (type == 'c' && value.is_string()) {
    if (value.string_object().length != 1) throw TemplateError("%c requires int or char");
    return Pad(value.str(), spec, '>');
  }
  if (!value.is_number()) {
    if (value.is_undefined()) ThrowUndefined(value);
    throw TemplateError(absl::StrCat("%", std::string(1, type),
                                     " format: a real number is required, not ", TypeName(value)));
  }
  if (std::string("eEfFgG").find(type) != std::string::npos) {
    return FormatReal(value.as_double(), spec);
  }
  if (type == 'c') return FormatInteger(AsInteger(value), spec);
  if (value.is_float() && std::string("oxX").find(type) != std::string::npos) {
    throw TemplateError(
        absl::StrCat("%", std::string(1, type), " format: an integer is required, not float"));
  }
  if (value.is_float() && !std::isfinite(value.real())) {
    throw TemplateError("cannot convert float infinity or NaN to integer");
  }
  const Int number = value.is_float() ? static_cast<Int>(value.real()) : value.integer();
  const int base_of = type == 'o' ? 8 : type == 'x' || type == 'X' ? 16 : 10;
  std::string digits = Digits(number, base_of, type == 'X');
  if (static_cast<int>(digits.size()) < spec.precision) {
    digits.insert(0, spec.precision - digits.size(), '0');
  }
  std::string sign = SignOf(number < 0, spec.sign);
  if (spec.alternate && base_of != 10) sign += std::string("0") + type;
  return Pad(sign + digits, spec, '>', sign.size());
}

// One `format % arguments`, read from left to right.
class PercentFormatter {
 public:
  // Both outlive this.
  PercentFormatter(const Value& format, const Value& arguments)
      : text_(format.str()),
        is_markup_(format.is_markup()),
        arguments_(arguments),
        one_({arguments}),
        values_(arguments.is_tuple() ? arguments.items() : one_) {}

  std::string Run() {
    std::string out;
    while (at_ < text_.size()) {
      const size_t percent = std::min(text_.find('%', at_), text_.size());
      out.append(text_, at_, percent - at_);
      at_ = percent;
      if (at_ < text_.size()) out += Conversion();
    }
    const bool surplus_is_fine = arguments_.is_dict() || arguments_.is_list() ||
                                 arguments_.is_undefined() || names_arguments_;
    if (next_ < values_.size() && !surplus_is_fine) {
      throw TemplateError("not all arguments converted during string formatting");
    }
    return out;
  }

 private:
  // What stands for "%(key)#0- +width.precision type" at this place.
  std::string Conversion() {
    if (++at_ == text_.size()) throw TemplateError("incomplete format");
    const Value* named = text_[at_] == '(' ? &Named() : nullptr;
    Spec spec;
    ReadFlags(&spec);
    spec.width = Number();
    if (spec.width < 0) spec.width = -spec.width, spec.align = '<', spec.fill = " ";
    if (at_ < text_.size() && text_[at_] == '.') {
      ++at_;
      spec.precision = std::max(Number(), 0);
    }
    while (IsOneOf("hlL")) ++at_;
    if (at_ == text_.size()) throw TemplateError("incomplete format");
    spec.type = text_[at_++];
    if (spec.type == '%') return "%";
    if (spec.type == 'i' || spec.type == 'u') spec.type = 'd';
    if (absl::string_view("sradcoxXeEfFgG").find(spec.type) == absl::string_view::npos) {
      throw TemplateError(
          absl::StrCat("unsupported format character '", std::string(1, spec.type), "'"));
    }
    return Convert(named != nullptr ? *named : Next(), spec, is_markup_);
  }

  // The argument of "(key)", which may hold brackets.
  const Value& Named() {
    int open = 1;
    const size_t begin = ++at_;
    for (; at_ < text_.size(); ++at_) {
      if (text_[at_] == '(') ++open;
      if (text_[at_] == ')' && --open == 0) break;
    }
    if (at_ == text_.size()) throw TemplateError("incomplete format key");
    if (!arguments_.is_dict()) throw TemplateError("format requires a mapping");
    const std::string key = text_.substr(begin, at_++ - begin);
    const Value* value = arguments_.Find(key);
    if (value == nullptr) throw TemplateError(QuoteString(key));
    names_arguments_ = true;
    return *value;
  }

  void ReadFlags(Spec* spec) {
    for (; IsOneOf("#0- +"); ++at_) {
      const char flag = text_[at_];
      if (flag == '#') spec->alternate = true;
      if (flag == '0' && spec->align == 0) spec->align = '=', spec->fill = "0";
      if (flag == '-') spec->align = '<', spec->fill = " ";
      if (flag == ' ' && spec->sign != '+') spec->sign = ' ';
      if (flag == '+') spec->sign = '+';
    }
  }

  // A width or precision: digits, or '*' for the next argument.
  int Number() {
    if (!IsOneOf("*")) return ReadNumber(text_, &at_);
    ++at_;
    return static_cast<int>(std::clamp<int64_t>(AsIndex(Next()), -kMaxWidth, kMaxWidth));
  }

  const Value& Next() {
    if (next_ >= values_.size()) throw TemplateError("not enough arguments for format string");
    return values_[next_++];
  }

  bool IsOneOf(absl::string_view characters) const {
    return at_ < text_.size() && characters.find(text_[at_]) != absl::string_view::npos;
  }

  const std::string& text_;
  const bool is_markup_;
  const Value& arguments_;
  const std::vector<Value> one_;
  const std::vector<Value>& values_;
  size_t at_ = 0, next_ = 0;
  bool names_arguments_ = false;
};

}  // namespace

Value PercentFormat(const Value& format, const Value& arguments) {
  return Text(PercentFormatter(format, arguments).Run(), format);
}

}  // namespace lockstep::data::jinja
