// JSON text to template values.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/jinja/value.h"

namespace lockstep::data::jinja {

struct JsonReadOptions {
  bool refuse_duplicate_keys = false;  // otherwise the last one wins, as in Python
};

// Objects become dicts in their order, integers stay exact to 128 bits, other numbers are floats.
// The error gives the byte (from 1): broken JSON, invalid UTF-8, a lone surrogate, nesting beyond
// kMaxDepth, an integer or a float out of range.
absl::StatusOr<Value> ParseJson(absl::string_view text, const JsonReadOptions& options = {});

// What JSON calls the type of what ParseJson has read: null, boolean, number, string, list, object.
absl::string_view JsonTypeName(const Value& value);

}  // namespace lockstep::data::jinja
