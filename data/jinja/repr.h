// Values as text: Python's str() and repr(), and json.dumps.
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "data/jinja/value.h"

namespace lockstep::data::jinja {

std::string IntToString(Int value);
// `digits` are those of a base up to 36, letters in any case. None: 128 bits are too few.
std::optional<Int> IntFromDigits(absl::string_view digits, int base);

// repr(float): the shortest decimal that reads back the same; "1.0", "1e+16", "inf", "nan".
std::string FloatToString(double value);

std::string QuoteString(absl::string_view text);  // repr(str)

std::string Str(const Value& value);
std::string Repr(const Value& value, int depth = 0);  // depth: of what is around it

struct JsonOptions {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool has_indent = false;
  std::string indent;  // of one level
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

// json.dumps(value, …). Throws for what is no JSON.
std::string ToJson(const Value& value, const JsonOptions& options);

}  // namespace lockstep::data::jinja
