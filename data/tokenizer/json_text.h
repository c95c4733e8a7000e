// JSON text: writing strings, and saying where broken JSON breaks.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace lockstep::data {

// "line 3, byte 120: …": why `json` is not JSON, or "" if it is.
std::string JsonProblem(absl::string_view json);

// A JSON string with its quotes; characters beyond ASCII stay as they are. `text` is valid UTF-8.
std::string QuoteJson(absl::string_view text);

}  // namespace lockstep::data
