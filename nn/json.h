// JSON as Hugging Face folders hold it, for nn's own readers. Numbers, strings and nesting only:
// what a document means is checked by its reader.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace lockstep::nn {

// The object in `text`; the error names `where` and the byte. Text of any content and nesting is
// safe.
absl::StatusOr<nlohmann::json> ParseJsonObject(absl::string_view text, absl::string_view where);

// As PEFT and transformers write: two blanks, UTF-8, a newline at the end; keys in their order
// (those of a nlohmann::json are sorted).
std::string FormatJson(const nlohmann::ordered_json& object);

}  // namespace lockstep::nn
