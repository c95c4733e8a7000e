#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/jinja/arguments.h"
#include "data/jinja/format.h"
#include "data/jinja/methods.h"
#include "data/jinja/objects.h"
#include "data/jinja/operators.h"
#include "data/jinja/repr.h"
#include "data/jinja/text.h"

namespace lockstep::data::jinja {

namespace {

using Method = Value (*)(const Value& self, const Arguments& arguments);

std::vector<Value> Texts(const std::vector<absl::string_view>& parts, const Value& like) {
  BoundItems(static_cast<int64_t>(parts.size()));
  std::vector<Value> out;
  out.reserve(parts.size());
  for (const absl::string_view part : parts) out.push_back(Text(std::string(part), like));
  return out;
}

// A part of `self`, as code points [start, end) that the arguments `i` and `i + 1` name.
struct Window {
  absl::string_view text;
  int64_t start;  // code points before it
  bool valid;     // start is not behind the end
};
Window WindowOf(const Value& self, const BoundArguments& arguments, size_t i) {
  const StringObject& string = self.string_object();
  const auto clip = [&](size_t at, int64_t fallback) {
    int64_t index = arguments.HasValue(at) ? AsIndex(arguments[at]) : fallback;
    if (index < 0) index = std::max<int64_t>(0, index + string.length);
    return index;
  };
  const int64_t start = clip(i, 0);
  const int64_t end = std::min(clip(i + 1, string.length), string.length);
  if (start > end) return {"", start, false};
  const size_t begin = string.ascii ? start : ByteOffset(string.text, start);
  const absl::string_view rest = absl::string_view(string.text).substr(begin);
  const size_t bytes = string.ascii ? end - start : ByteOffset(rest, end - start);
  return {rest.substr(0, bytes), start, true};
}

template <std::string (*map)(absl::string_view)>
Value Map(const Value& self, const Arguments& arguments) {
  BoundArguments("str method", arguments, {});
  return Text(map(self.str()), self);
}

// All characters fit (and there is one).
template <bool (*fits)(char32_t)>
Value All(const Value& self, const Arguments& arguments) {
  BoundArguments("str method", arguments, {});
  const std::u32string text = Decode(self.str());
  return Value::Bool(!text.empty() && std::all_of(text.begin(), text.end(), fits));
}

bool IsAlphanumeric(char32_t code) { return IsAlpha(code) || IsNumeric(code); }

// str.isupper and str.islower: a character of that case, and none of the others.
template <bool (*wanted)(char32_t), bool (*other)(char32_t)>
Value OneCase(const Value& self, const Arguments& arguments) {
  BoundArguments("str method", arguments, {});
  bool found = false;
  for (const char32_t code : Decode(self.str())) {
    if (other(code) || IsTitle(code)) return Value::Bool(false);
    found |= wanted(code);
  }
  return Value::Bool(found);
}

Value IsTitleCased(const Value& self, const Arguments&) {
  bool found = false, cased = false;
  for (const char32_t code : Decode(self.str())) {
    const bool upper = IsUpper(code) || IsTitle(code);
    if ((upper && cased) || (IsLower(code) && !cased)) return Value::Bool(false);
    found |= upper || IsLower(code);
    cased = upper || IsLower(code);
  }
  return Value::Bool(found);
}

Value IsPrintableText(const Value& self, const Arguments&) {
  const std::u32string text = Decode(self.str());
  return Value::Bool(std::all_of(text.begin(), text.end(), IsPrintable));
}

template <Sides sides>
Value Strip(const Value& self, const Arguments& arguments) {
  const BoundArguments bound("strip", arguments, {"chars"});
  const absl::string_view text = self.str();
  return Text(std::string(bound.HasValue(0) ? StripCharacters(text, bound.String(0), sides)
                                            : StripSpace(text, sides)),
              self);
}

template <bool from_right>
Value Split(const Value& self, const Arguments& arguments) {
  const BoundArguments bound("split", arguments, {"sep", "maxsplit"});
  const int64_t limit = bound.Index(1, -1);
  if (!bound.HasValue(0))
    return Value::List(Texts(SplitSpace(self.str(), limit, from_right), self));
  if (bound.String(0).empty()) throw TemplateError("empty separator");
  return Value::List(Texts(SplitAt(self.str(), bound.String(0), limit, from_right), self));
}

Value SplitByLines(const Value& self, const Arguments& arguments) {
  const BoundArguments bound("splitlines", arguments, {"keepends"});
  return Value::List(Texts(SplitLines(self.str(), bound.Flag(0, false)), self));
}

template <bool from_right>
Value Partition(const Value& self, const Arguments& arguments) {
  const BoundArguments bound("partition", arguments, {"sep"}, 1);
  const absl::string_view text = self.str();
  const std::string& separator = bound.String(0);
  if (separator.empty()) throw TemplateError("empty separator");
  const size_t at = from_right ? text.rfind(separator) : text.find(separator);
  if (at == absl::string_view::npos) {
    return Value::Tuple(from_right ? Texts({"", "", text}, self) : Texts({text, "", ""}, self));
  }
  return Value::Tuple(
      Texts({text.substr(0, at), separator, text.substr(at + separator.size())}, self));
}

template <bool at_end>
Value StartsOrEnds(const Value& self, const Arguments& arguments) {
  const BoundArguments bound(at_end ? "endswith" : "startswith", arguments,
                             {"prefix", "start", "end"}, 1);
  const Window window = WindowOf(self, bound, 1);
  const auto fits = [&](const Value& affix) {
    const std::string& text = RequireString(affix, at_end ? "endswith" : "startswith");
    return window.valid &&
           (at_end ? absl::EndsWith(window.text, text) : absl::StartsWith(window.text, text));
  };
  if (!bound[0].is_tuple()) return Value::Bool(fits(bound[0]));
  const std::vector<Value>& affixes = bound[0].items();
  return Value::Bool(std::any_of(affixes.begin(), affixes.end(), fits));
}

template <bool from_right, bool must>
Value Find(const Value& self, const Arguments& arguments) {
  const BoundArguments bound("find", arguments, {"sub", "start", "end"}, 1);
  const Window window = WindowOf(self, bound, 1);
  const std::string& wanted = bound.String(0);
  const size_t at = !window.valid ? absl::string_view::npos
                    : from_right  ? window.text.rfind(wanted)
                                  : window.text.find(wanted);
  if (at != absl::string_view::npos) {
    return Value::Integer(window.start + CountCodePoints(window.text.substr(0, at)));
  }
  if (must) throw TemplateError("substring not found");
  return Value::Integer(-1);
}

Value Count(const Value& self, const Arguments& arguments) {
  const BoundArguments bound("count", arguments, {"sub", "start", "end"}, 1);
  const Window window = WindowOf(self, bound, 1);
  const std::string& wanted = bound.String(0);
  if (!window.valid) return Value::Integer(0);
  if (wanted.empty()) return Value::Integer(CountCodePoints(window.text) + 1);
  return Value::Integer(SplitAt(window.text, wanted, -1, false).size() - 1);
}

Value Replace(const Value& self, const Arguments& arguments) {
  const BoundArguments bound("replace", arguments, {"old", "new", "count"}, 2);
  RequireString(bound[1], "replace");
  const std::string with = self.is_markup() ? Escaped(bound[1]) : bound[1].str();
  return Text(ReplaceAll(self.str(), bound.String(0), with, bound.Index(2, -1)), self);
}

Value Join(const Value& self, const Arguments& arguments) {
  const BoundArguments bound("join", arguments, {"iterable"}, 1);
  std::string out;
  bool first = true;
  const auto next = Iterate(bound[0]);
  for (Value item; next(&item); first = false) {
    if (!item.is_string()) {
      throw TemplateError(
          absl::StrCat("sequence item: expected str instance, ", TypeName(item), " found"));
    }
    absl::StrAppend(&out, first ? "" : self.str(), self.is_markup() ? Escaped(item) : item.str());
    if (static_cast<int64_t>(out.size()) > kMaxWeight) throw TemplateError("a value is too large");
  }
  return Text(std::move(out), self);
}

enum Justify { kJustifyLeft, kJustifyRight, kCenter };
template <Justify how>
Value Justified(const Value& self, const Arguments& arguments) {
  const BoundArguments bound("ljust", arguments, {"width", "fillchar"}, 1);
  std::string fill = bound.Has(1) ? bound.String(1) : " ";
  if (CountCodePoints(fill) != 1) {
    throw TemplateError("The fill character must be exactly one character long");
  }
  if (self.is_markup()) fill = EscapeHtml(fill);
  const int64_t width = bound.Index(0, 0);
  const int64_t missing = std::max<int64_t>(0, width - self.string_object().length);
  if (missing > kMaxWeight / 4) throw TemplateError("a value is too large");
  int64_t left = how == kJustifyLeft ? 0 : missing;
  if (how == kCenter) left = missing / 2 + (missing & width & 1);
  std::string out;
  for (int64_t i = 0; i < left; ++i) out += fill;
  out += self.str();
  for (int64_t i = left; i < missing; ++i) out += fill;
  return Text(std::move(out), self);
}

Value ZeroFill(const Value& self, const Arguments& arguments) {
  const BoundArguments bound("zfill", arguments, {"width"}, 1);
  const int64_t missing = std::max<int64_t>(0, bound.Index(0, 0) - self.string_object().length);
  if (missing > kMaxWeight) throw TemplateError("a value is too large");
  const std::string& text = self.str();
  const size_t sign = !text.empty() && (text[0] == '+' || text[0] == '-');
  return Text(absl::StrCat(text.substr(0, sign), std::string(missing, '0'), text.substr(sign)),
              self);
}

template <bool at_end>
Value RemoveAffix(const Value& self, const Arguments& arguments) {
  const BoundArguments bound("removeprefix", arguments, {"prefix"}, 1);
  absl::string_view text = self.str();
  const std::string& affix = bound.String(0);
  if (at_end && absl::EndsWith(text, affix)) text.remove_suffix(affix.size());
  if (!at_end && absl::StartsWith(text, affix)) text.remove_prefix(affix.size());
  return Text(std::string(text), self);
}

Value ExpandTabs(const Value& self, const Arguments& arguments) {
  const BoundArguments bound("expandtabs", arguments, {"tabsize"});
  const int64_t size = std::min<int64_t>(bound.Index(0, 8), 10000);
  std::string out;
  int64_t column = 0;
  for (const char32_t code : Decode(self.str())) {
    if (code == '\t') {
      const int64_t spaces = size > 0 ? size - column % size : 0;
      out.append(spaces, ' ');
      column += spaces;
    } else {
      AppendUtf8(code, &out);
      column = code == '\n' || code == '\r' ? 0 : column + 1;
    }
  }
  return Text(std::move(out), self);
}

Value FormatMap(const Value& self, const Arguments& arguments) {
  const BoundArguments bound("format_map", arguments, {"mapping"}, 1);
  if (!bound[0].is_dict()) throw TemplateError("format_map() takes a mapping");
  Arguments named;
  for (const auto& [key, value] : bound[0].dict().items) {
    named.keyword.emplace_back(Str(key), value);
  }
  return BraceFormat(self, named);
}

Value Identifier(const Value& self, const Arguments&) {
  return Value::Bool(IsIdentifier(self.str()));
}
Value Ascii(const Value& self, const Arguments&) { return Value::Bool(self.string_object().ascii); }

const absl::flat_hash_map<absl::string_view, Method>& Methods() {
  static const auto& methods = *new absl::flat_hash_map<absl::string_view, Method>{
      {"capitalize", Map<Capitalize>},
      {"casefold", Map<CaseFold>},
      {"center", Justified<kCenter>},
      {"count", Count},
      {"endswith", StartsOrEnds<true>},
      {"expandtabs", ExpandTabs},
      {"find", Find<false, false>},
      {"format", BraceFormat},
      {"format_map", FormatMap},
      {"index", Find<false, true>},
      {"isalnum", All<IsAlphanumeric>},
      {"isalpha", All<IsAlpha>},
      {"isascii", Ascii},
      {"isdecimal", All<IsDecimal>},
      {"isdigit", All<IsDigit>},
      {"isidentifier", Identifier},
      {"islower", OneCase<IsLower, IsUpper>},
      {"isnumeric", All<IsNumeric>},
      {"isprintable", IsPrintableText},
      {"isspace", All<IsSpace>},
      {"istitle", IsTitleCased},
      {"isupper", OneCase<IsUpper, IsLower>},
      {"join", Join},
      {"ljust", Justified<kJustifyLeft>},
      {"lower", Map<Lower>},
      {"lstrip", Strip<kLeft>},
      {"partition", Partition<false>},
      {"removeprefix", RemoveAffix<false>},
      {"removesuffix", RemoveAffix<true>},
      {"replace", Replace},
      {"rfind", Find<true, false>},
      {"rindex", Find<true, true>},
      {"rjust", Justified<kJustifyRight>},
      {"rpartition", Partition<true>},
      {"rsplit", Split<true>},
      {"rstrip", Strip<kRight>},
      {"split", Split<false>},
      {"splitlines", SplitByLines},
      {"startswith", StartsOrEnds<false>},
      {"strip", Strip<kBoth>},
      {"swapcase", Map<SwapCase>},
      {"title", Map<TitleCase>},
      {"upper", Map<Upper>},
      {"zfill", ZeroFill},
  };
  return methods;
}

}  // namespace

std::optional<Value> FindStringMethod(const Value& object, const std::string& name) {
  const auto found = Methods().find(name);
  if (found == Methods().end()) return std::nullopt;
  return MakeFunction(
      name, [object, method = found->second](Interpreter& interpreter, const Arguments& arguments) {
        interpreter.Charge(object.weight() / 256);
        return method(object, arguments);
      });
}

}  // namespace lockstep::data::jinja
