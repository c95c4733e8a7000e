#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "data/jinja/arguments.h"
#include "data/jinja/filters.h"
#include "data/jinja/format.h"
#include "data/jinja/operators.h"
#include "data/jinja/repr.h"
#include "data/jinja/text.h"
#include "data/jinja/text_wrap.h"

namespace lockstep::data::jinja {

namespace {

// soft_str: the value as a string that stays Markup if it was.
Value SoftString(const Value& value) {
  return value.is_string() ? value : Value::String(Str(value));
}

template <std::string (*map)(absl::string_view)>
Value Map(Interpreter&, const Value& value, const Arguments& arguments) {
  BoundArguments("filter", arguments, {});
  return Text(map(Str(value)), value);
}

// Upper case behind the beginning and each of "-", space, "(", "{", "[", "<".
std::string Title(absl::string_view text) {
  std::string out;
  const auto separates = [](char32_t code) {
    return code == '-' || code == '(' || code == '{' || code == '[' || code == '<' || IsSpace(code);
  };
  for (size_t at = 0; at < text.size();) {
    size_t end = at;
    const bool separator = separates(NextCodePoint(text, &end));
    const size_t first = end;
    for (size_t next = end; next < text.size(); end = next) {
      if (separates(NextCodePoint(text, &next)) != separator) break;
    }
    out += Upper(text.substr(at, first - at));
    out += Lower(text.substr(first, end - first));
    at = end;
  }
  return out;
}

Value TitleFilter(Interpreter&, const Value& value, const Arguments& arguments) {
  BoundArguments("title", arguments, {});
  return Value::String(Title(Str(value)));
}

Value AsString(Interpreter&, const Value& value, const Arguments& arguments) {
  BoundArguments("string", arguments, {});
  return SoftString(value);
}

Value Trim(Interpreter&, const Value& value, const Arguments& arguments) {
  const BoundArguments bound("trim", arguments, {"chars"});
  const Value text = SoftString(value);
  return Text(std::string(bound.HasValue(0) ? StripCharacters(text.str(), bound.String(0), kBoth)
                                            : StripSpace(text.str(), kBoth)),
              text);
}

// Without autoescape jinja2 makes a plain string of it.
Value Replace(Interpreter&, const Value& value, const Arguments& arguments) {
  const BoundArguments bound("replace", arguments, {"old", "new", "count"}, 2);
  const int64_t count = bound.HasValue(2) ? AsIndex(bound[2]) : -1;
  return Value::String(ReplaceAll(Str(value), Str(bound[0]), Str(bound[1]), count));
}

Value Center(Interpreter&, const Value& value, const Arguments& arguments) {
  const BoundArguments bound("center", arguments, {"width"});
  const Value text = SoftString(value);
  const int64_t width = bound.Index(0, 80);
  const int64_t missing = std::max<int64_t>(0, width - text.string_object().length);
  if (missing > kMaxWeight) throw TemplateError("a value is too large");
  const int64_t left = missing / 2 + (missing & width & 1);
  return Text(absl::StrCat(std::string(left, ' '), text.str(), std::string(missing - left, ' ')),
              text);
}

Value Indent(Interpreter&, const Value& value, const Arguments& arguments) {
  const BoundArguments bound("indent", arguments, {"width", "first", "blank"});
  RequireString(value, "indent");
  std::string indention(4, ' ');
  if (bound.Has(0)) {
    indention = bound[0].is_string()
                    ? (value.is_markup() ? Escaped(bound[0]) : bound[0].str())
                    : std::string(std::clamp<int64_t>(AsIndex(bound[0]), 0, 10000), ' ');
  }
  const bool first = bound.Flag(1, false), blank = bound.Flag(2, false);
  const std::string text = value.str() + "\n";
  std::string out;
  bool at_first = true;
  for (const absl::string_view line : SplitLines(text, /*keep_ends=*/false)) {
    if (!at_first) out += '\n';
    if (at_first ? first : blank || !line.empty()) out += indention;
    absl::StrAppend(&out, line);
    at_first = false;
    if (static_cast<int64_t>(out.size()) > kMaxWeight) throw TemplateError("a value is too large");
  }
  return Text(std::move(out), value);
}

Value Truncate(Interpreter&, const Value& value, const Arguments& arguments) {
  const BoundArguments bound("truncate", arguments, {"length", "killwords", "end", "leeway"});
  const std::string end = bound.Has(2) ? bound.String(2) : "...";
  const int64_t length = bound.Index(0, 255), leeway = bound.HasValue(3) ? AsIndex(bound[3]) : 5;
  const int64_t end_length = CountCodePoints(end);
  if (length < end_length) {
    throw TemplateError(absl::StrCat("expected length >= ", end_length, ", got ", length));
  }
  if (leeway < 0) throw TemplateError(absl::StrCat("expected leeway >= 0, got ", leeway));
  const std::optional<int64_t> size = Length(value);
  if (size.has_value() && *size <= length + leeway) return value;
  RequireString(value, "truncate");
  absl::string_view kept = value.str();
  kept = kept.substr(0, ByteOffset(kept, length - end_length));
  if (!bound.Flag(1, false)) kept = SplitAt(kept, " ", 1, true)[0];
  return Text(absl::StrCat(kept, value.is_markup() ? EscapeHtml(end) : end), value);
}

Value WordWrap(Interpreter&, const Value& value, const Arguments& arguments) {
  const BoundArguments bound("wordwrap", arguments,
                             {"width", "break_long_words", "wrapstring", "break_on_hyphens"});
  const std::string& text = RequireString(value, "wordwrap");
  const WrapOptions options{bound.Index(0, 79), bound.Flag(1, true), bound.Flag(3, true)};
  if (options.width <= 0 && !text.empty()) {
    throw TemplateError(absl::StrCat("invalid width ", options.width, " (must be > 0)"));
  }
  std::vector<std::string> lines;  // an empty line stays one
  const std::string separator = bound.HasValue(2) ? bound.String(2) : "\n";
  for (const absl::string_view line : SplitLines(text, /*keep_ends=*/false)) {
    lines.push_back(absl::StrJoin(WrapLine(line, options), separator));
  }
  return Value::String(absl::StrJoin(lines, separator));
}

Value PrettyPrint(Interpreter&, const Value& value, const Arguments& arguments) {
  BoundArguments("pprint", arguments, {});
  return Value::String(PrettyRepr(value));
}

Value WordCount(Interpreter&, const Value& value, const Arguments& arguments) {
  BoundArguments("wordcount", arguments, {});
  int64_t count = 0;
  bool inside = false;
  for (const char32_t code : Decode(Str(value))) {
    const bool word = IsWord(code);
    count += word && !inside;
    inside = word;
  }
  return Value::Integer(count);
}

Value Format(Interpreter&, const Value& value, const Arguments& arguments) {
  if (!arguments.positional.empty() && !arguments.keyword.empty()) {
    throw TemplateError("can't handle positional and keyword arguments at the same time");
  }
  if (arguments.keyword.empty()) {
    return PercentFormat(SoftString(value), Value::Tuple(arguments.positional));
  }
  std::vector<std::pair<Value, Value>> items;
  for (const auto& [name, item] : arguments.keyword) items.emplace_back(Value::String(name), item);
  return PercentFormat(SoftString(value), Value::Dict(std::move(items)));
}

Value Escape(Interpreter&, const Value& value, const Arguments& arguments) {
  BoundArguments("escape", arguments, {});
  return Value::Markup(Escaped(value));
}
Value ForceEscape(Interpreter&, const Value& value, const Arguments& arguments) {
  BoundArguments("forceescape", arguments, {});
  return Value::Markup(EscapeHtml(Str(value)));
}
Value Safe(Interpreter&, const Value& value, const Arguments& arguments) {
  BoundArguments("safe", arguments, {});
  return Value::Markup(Str(value));
}

// The entities that EscapeHtml writes, and their decimal and hexadecimal kin.
std::string Unescape(absl::string_view text) {
  constexpr std::pair<absl::string_view, absl::string_view> kNamed[] = {
      {"amp", "&"}, {"lt", "<"}, {"gt", ">"}, {"quot", "\""}, {"apos", "'"}, {"nbsp", "\u00A0"}};
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text[at] == '&' ? text.find(';', at) : absl::string_view::npos;
    if (end == absl::string_view::npos || end - at > 10) {
      out += text[at++];
      continue;
    }
    const absl::string_view name = text.substr(at + 1, end - at - 1);
    const auto* known = std::find_if(std::begin(kNamed), std::end(kNamed),
                                     [&](const auto& entity) { return entity.first == name; });
    if (known != std::end(kNamed)) {
      absl::StrAppend(&out, known->second);
    } else if (name.size() > 1 && name[0] == '#') {
      const bool hexadecimal = name[1] == 'x' || name[1] == 'X';
      AppendUtf8(
          static_cast<char32_t>(std::strtoul(std::string(name.substr(hexadecimal ? 2 : 1)).c_str(),
                                             nullptr, hexadecimal ? 16 : 10)) &
              0x1FFFFF,
          &out);
    } else {
      out += text[at++];
      continue;
    }
    at = end + 1;
  }
  return out;
}

Value StripTags(Interpreter&, const Value& value, const Arguments& arguments) {
  BoundArguments("striptags", arguments, {});
  const std::string text = Str(value);
  std::string out;
  size_t at = 0;
  while (true) {
    const size_t open = text.find('<', at);
    if (open == std::string::npos) break;
    const bool comment = text.compare(open, 4, "<!--") == 0;
    const size_t close = comment ? text.find("-->", open + 4) : text.find('>', open);
    if (close == std::string::npos) break;
    out.append(text, at, open - at);
    at = close + (comment ? 3 : 1);
  }
  out.append(text, at, std::string::npos);
  return Value::String(Unescape(absl::StrJoin(SplitSpace(out, -1, false), " ")));
}

std::string Quote(absl::string_view text, bool for_query) {
  std::string out;
  for (const char c : text) {
    const bool plain = absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' ||
                       c == '-' || c == '~' || (c == '/' && !for_query);
    if (plain) {
      out += c;
    } else if (c == ' ' && for_query) {
      out += '+';
    } else {
      absl::StrAppendFormat(&out, "%%%02X", static_cast<unsigned char>(c));
    }
  }
  return out;
}

Value UrlEncode(Interpreter&, const Value& value, const Arguments& arguments) {
  BoundArguments("urlencode", arguments, {});
  if (value.is_string() || !IsIterable(value)) return Value::String(Quote(Str(value), false));
  std::vector<std::string> parts;
  const auto add = [&](const Value& name, const Value& item) {
    parts.push_back(absl::StrCat(Quote(Str(name), true), "=", Quote(Str(item), true)));
  };
  if (value.is_dict()) {
    for (const auto& [name, item] : value.dict().items) add(name, item);
  } else {
    for (const Value& pair : ToVector(value)) {
      const std::vector<Value> two = ToVector(pair);
      if (two.size() != 2) throw TemplateError("urlencode wants pairs");
      add(two[0], two[1]);
    }
  }
  return Value::String(absl::StrJoin(parts, "&"));
}

Value XmlAttributes(Interpreter&, const Value& value, const Arguments& arguments) {
  const BoundArguments bound("xmlattr", arguments, {"autospace"});
  if (!value.is_dict()) throw TemplateError("xmlattr wants a dict");
  std::vector<std::string> parts;
  for (const auto& [name, item] : value.dict().items) {
    if (item.is_none() || item.is_undefined()) continue;
    const std::string& key = RequireString(name, "xmlattr");
    if (key.find_first_of(" \t\n\r\f\v/>=") != std::string::npos) {
      throw TemplateError(absl::StrCat("Invalid character in attribute name: ", QuoteString(key)));
    }
    parts.push_back(absl::StrCat(EscapeHtml(key), "=\"", Escaped(item), "\""));
  }
  const std::string out = absl::StrJoin(parts, " ");
  return Value::String(bound.Flag(0, true) && !out.empty() ? " " + out : out);
}

}  // namespace

Filter FindStringFilter(absl::string_view name) {
  static const auto& filters = *new absl::flat_hash_map<absl::string_view, Filter>{
      {"capitalize", Map<Capitalize>},
      {"center", Center},
      {"e", Escape},
      {"escape", Escape},
      {"forceescape", ForceEscape},
      {"format", Format},
      {"indent", Indent},
      {"lower", Map<Lower>},
      {"pprint", PrettyPrint},
      {"replace", Replace},
      {"safe", Safe},
      {"string", AsString},
      {"striptags", StripTags},
      {"title", TitleFilter},
      {"trim", Trim},
      {"truncate", Truncate},
      {"upper", Map<Upper>},
      {"urlencode", UrlEncode},
      {"wordcount", WordCount},
      {"wordwrap", WordWrap},
      {"xmlattr", XmlAttributes},
  };
  const auto found = filters.find(name);
  return found == filters.end() ? nullptr : found->second;
}

}  // namespace lockstep::data::jinja
