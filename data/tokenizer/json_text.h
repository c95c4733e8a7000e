// JSON text: reading it whatever is in it, saying where it breaks, and writing strings.
#pragma once

#include <simdjson.h>

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lockstep::data {

// "line 3, byte 120: …": why `json` is not JSON, or nested too deeply to be of use; "" if it is
// fine.
std::string JsonProblem(absl::string_view json);

// The value of `json`; it lives until the parser is used again. A byte order mark and integers of
// more than 64 bits, which become floats, are no error. `where` and `hint` are those of UserError.
absl::StatusOr<simdjson::dom::element> ParseJson(simdjson::dom::parser& parser,
                                                 absl::string_view json, absl::string_view where,
                                                 absl::string_view hint = "");

// A JSON string with its quotes; characters beyond ASCII stay as they are. `text` is valid UTF-8.
std::string QuoteJson(absl::string_view text);

}  // namespace lockstep::data
