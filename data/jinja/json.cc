#include "data/jinja/json.h"

#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "data/jinja/repr.h"

namespace lockstep::data::jinja {

namespace {

// Goes over the text and tells how far the parser has read.
class Cursor {
 public:
  using iterator_category = std::forward_iterator_tag;
  using value_type = char;
  using difference_type = ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  Cursor(const char* at, const char** furthest) : at_(at), furthest_(furthest) {}
  const char& operator*() const { return *at_; }
  Cursor& operator++() {
    *furthest_ = ++at_;
    return *this;
  }
  bool operator==(const Cursor& other) const { return at_ == other.at_; }
  bool operator!=(const Cursor& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** furthest_;
};

// The end of what was read, where the error is, fit for a terminal.
std::string Near(absl::string_view read) {
  constexpr size_t kBytes = 24;
  const size_t size = std::min(read.size(), kBytes);
  return absl::StrCat(" near \"", absl::CHexEscape(read.substr(read.size() - size)), "\"");
}

// What nlohmann's parser reports, event by event, put together as Values.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  Builder(absl::string_view text, const JsonReadOptions& options)
      : text_(text), options_(options) {}

  const char** furthest() { return &furthest_; }

  bool null() override { return Add(Value()); }
  bool boolean(bool value) override { return Add(Value::Bool(value)); }
  bool number_integer(int64_t value) override { return Add(Value::Integer(value)); }
  bool number_unsigned(uint64_t value) override { return Add(Value::Integer(value)); }
  bool number_float(double value, const std::string& text) override {
    if (text.find_first_of(".eE") == std::string::npos) return AddBigInteger(text);
    if (!std::isfinite(value)) return Fail("the number is out of range");
    return Add(Value::Float(value));
  }
  bool string(std::string& value) override { return Add(Value::String(std::move(value))); }
  bool binary(nlohmann::json::binary_t&) override { return Fail("binary data"); }

  bool start_object(size_t) override { return Open(true); }
  bool start_array(size_t) override { return Open(false); }
  bool key(std::string& key) override {
    Level& level = levels_.back();
    if (options_.refuse_duplicate_keys && !level.seen.insert(key).second) {
      return Fail("this key is there twice");
    }
    level.keys.push_back(std::move(key));
    return true;
  }
  bool end_object() override {
    Level level = Close();
    std::vector<std::pair<Value, Value>> items;
    items.reserve(level.keys.size());
    for (size_t i = 0; i < level.keys.size(); ++i) {
      items.emplace_back(Value::String(std::move(level.keys[i])), std::move(level.values[i]));
    }
    return Add(Value::Dict(std::move(items)));
  }
  bool end_array() override { return Add(Value::List(Close().values)); }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::json::exception& error) override {
    // The parser's own quotation of the text may be as long as the text.
    const absl::string_view text = error.what();
    const size_t quoted = text.find("; last read: '"), expected = text.rfind("; expected ");
    const size_t begin = text.find(" - ");
    std::string what = "a number is out of range";
    if (begin != absl::string_view::npos) {
      what = std::string(text.substr(begin + 3, quoted == absl::string_view::npos
                                                    ? absl::string_view::npos
                                                    : quoted - begin - 3));
      if (quoted != absl::string_view::npos && expected != absl::string_view::npos &&
          expected > quoted) {
        absl::StrAppend(&what, text.substr(expected));
      }
    }
    message = absl::StrCat("byte ", position, Near(text_.substr(0, position)), ": ", what);
    return false;
  }

  Value root;
  std::string message;

 private:
  struct Level {
    bool is_object;
    std::vector<std::string> keys;
    std::vector<Value> values;
    absl::flat_hash_set<std::string> seen;
  };

  bool Open(bool is_object) {
    if (levels_.size() + 2 > kMaxDepth) return Fail("nested too deeply");
    levels_.push_back({is_object, {}, {}, {}});
    return true;
  }
  Level Close() {
    Level level = std::move(levels_.back());
    levels_.pop_back();
    return level;
  }
  bool Add(Value value) {
    if (levels_.empty()) {
      root = std::move(value);
    } else {
      levels_.back().values.push_back(std::move(value));
    }
    return true;
  }
  bool AddBigInteger(const std::string& text) {
    const bool negative = text[0] == '-';
    const std::optional<Int> value = IntFromDigits(absl::string_view(text).substr(negative), 10);
    if (!value) return Fail("the number is out of range");
    return Add(Value::Integer(negative ? -*value : *value));
  }
  bool Fail(std::string why) {
    const size_t byte = furthest_ == nullptr ? 0 : furthest_ - text_.data();
    message = absl::StrCat("byte ", byte, Near(text_.substr(0, byte)), ": ", why);
    return false;
  }

  const absl::string_view text_;
  const JsonReadOptions options_;
  const char* furthest_ = nullptr;
  std::vector<Level> levels_;
};

// simdjson's tree as a Value; false for what only the slower parser takes or can explain: keys that
// are there twice, values that are nested too deeply.
class Converter {
 public:
  explicit Converter(const JsonReadOptions& options) : options_(options) {}

  bool Convert(simdjson::dom::element from, size_t depth, Value* out) const {
    using simdjson::dom::element_type;
    if (depth + 1 > kMaxDepth) return false;
    switch (from.type()) {
      case element_type::NULL_VALUE:
        *out = Value();
        return true;
      case element_type::BOOL:
        *out = Value::Bool(from.get_bool().value_unsafe());
        return true;
      case element_type::INT64:
        *out = Value::Integer(from.get_int64().value_unsafe());
        return true;
      case element_type::UINT64:
        *out = Value::Integer(from.get_uint64().value_unsafe());
        return true;
      case element_type::DOUBLE:
        *out = Value::Float(from.get_double().value_unsafe());
        return true;
      case element_type::STRING:
        *out = Value::String(std::string(from.get_string().value_unsafe()));
        return true;
      case element_type::ARRAY:
        return ConvertArray(from.get_array().value_unsafe(), depth, out);
      case element_type::OBJECT:
        return ConvertObject(from.get_object().value_unsafe(), depth, out);
    }
    return false;
  }

 private:
  bool ConvertArray(simdjson::dom::array from, size_t depth, Value* out) const {
    std::vector<Value> items;
    for (const simdjson::dom::element item : from) {
      if (!Convert(item, depth + 1, &items.emplace_back())) return false;
    }
    *out = Value::List(std::move(items));
    return true;
  }

  bool ConvertObject(simdjson::dom::object from, size_t depth, Value* out) const {
    std::vector<std::pair<Value, Value>> items;
    for (const auto [key, value] : from) {
      auto& [to_key, to_value] = items.emplace_back(Value::String(std::string(key)), Value());
      if (!Convert(value, depth + 1, &to_value)) return false;
    }
    const size_t written = items.size();
    *out = Value::Dict(std::move(items));
    return !options_.refuse_duplicate_keys || out->dict().items.size() == written;
  }

  const JsonReadOptions& options_;
};

// What the faster parser makes of well-formed text.
std::optional<Value> ParseQuickly(absl::string_view text, const JsonReadOptions& options) {
  if (text.empty()) return std::nullopt;
  constexpr size_t kKeptBytes = 16 << 20;  // a parser that grew beyond this is not kept
  thread_local auto parser = std::make_unique<simdjson::dom::parser>();
  simdjson::dom::element root;
  Value value;
  const bool fits = !parser->parse(text.data(), text.size()).get(root) &&
                    Converter(options).Convert(root, 0, &value);
  if (parser->capacity() > kKeptBytes) parser = std::make_unique<simdjson::dom::parser>();
  return fits ? std::optional<Value>(std::move(value)) : std::nullopt;
}

}  // namespace

absl::StatusOr<Value> ParseJson(absl::string_view text, const JsonReadOptions& options) {
  try {
    if (std::optional<Value> value = ParseQuickly(text, options)) return *std::move(value);
    Builder builder(text, options);
    if (!nlohmann::json::sax_parse(Cursor(text.data(), builder.furthest()),
                                   Cursor(text.data() + text.size(), builder.furthest()),
                                   &builder)) {
      return absl::InvalidArgumentError(builder.message);
    }
    const size_t nul = text.find('\0');  // the parser takes it for the end
    if (nul != absl::string_view::npos) {
      return absl::InvalidArgumentError(absl::StrCat("byte ", nul + 1, ": a NUL byte"));
    }
    return std::move(builder.root);
  } catch (const TemplateError& error) {  // the bounds of values
    return absl::InvalidArgumentError(error.what());
  }
}

absl::string_view JsonTypeName(const Value& value) {
  if (value.is_none()) return "null";
  if (value.is_bool()) return "boolean";
  if (value.is_string()) return "string";
  if (value.is_list()) return "list";
  return value.is_dict() ? "object" : "number";
}

}  // namespace lockstep::data::jinja
