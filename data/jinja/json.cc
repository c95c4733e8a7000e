#include "data/jinja/json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "data/jinja/repr.h"

namespace lockstep::data::jinja {

namespace {

// What nlohmann's parser reports, event by event, put together as Values.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Builder(const JsonReadOptions& options) : options_(options) {}

  bool null() override { return Add(Value()); }
  bool boolean(bool value) override { return Add(Value::Bool(value)); }
  bool number_integer(int64_t value) override { return Add(Value::Integer(value)); }
  bool number_unsigned(uint64_t value) override { return Add(Value::Integer(value)); }
  bool number_float(double value, const std::string& text) override {
    if (text.find_first_of(".eE") == std::string::npos) return AddBigInteger(text);
    if (!std::isfinite(value)) return Fail(absl::StrCat("the number ", text, " is out of range"));
    return Add(Value::Float(value));
  }
  bool string(std::string& value) override { return Add(Value::String(std::move(value))); }
  bool binary(nlohmann::json::binary_t&) override { return Fail("binary data"); }

  bool start_object(size_t) override { return Open(true); }
  bool start_array(size_t) override { return Open(false); }
  bool key(std::string& key) override {
    Level& level = levels_.back();
    if (options_.refuse_duplicate_keys && !level.seen.insert(key).second) {
      return Fail(absl::StrCat("the key ", QuoteString(key), " is there twice"));
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
    const std::string text = error.what();
    const size_t colon = text.find("syntax error");
    message = absl::StrCat("byte ", position, ": ",
                           colon == std::string::npos ? text : text.substr(colon));
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
    Int value = 0;
    for (const char c : text) {
      if (c == '-') continue;
      if (__builtin_mul_overflow(value, Int{10}, &value) ||
          __builtin_add_overflow(value, Int{c - '0'}, &value)) {
        return Fail(absl::StrCat("the number ", text, " is out of range"));
      }
    }
    return Add(Value::Integer(text[0] == '-' ? -value : value));
  }
  bool Fail(std::string why) {
    message = std::move(why);
    return false;
  }

  const JsonReadOptions options_;
  std::vector<Level> levels_;
};

}  // namespace

absl::StatusOr<Value> ParseJson(absl::string_view text, const JsonReadOptions& options) {
  Builder builder(options);
  try {
    if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) {
      return absl::InvalidArgumentError(builder.message);
    }
  } catch (const TemplateError& error) {  // the bounds of values
    return absl::InvalidArgumentError(error.what());
  }
  return std::move(builder.root);
}

}  // namespace lockstep::data::jinja
