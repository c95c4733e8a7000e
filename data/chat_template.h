// A model's chat template and what transformers gives it to render.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/jinja/template.h"
#include "data/jinja/value.h"

namespace lockstep::data {

// The source that `--chat_template` names: "chatml" is built in, everything else is a file.
absl::StatusOr<std::string> ReadChatTemplate(absl::string_view flag);

// A model's or a user's template under the `name` that its errors speak of; their HINT is the flag.
absl::StatusOr<jinja::Template> ParseChatTemplate(absl::string_view source, absl::string_view name);

// `variables` (a dict), with what apply_chat_template always passes where it is not there: `tools`
// and `documents` None, `add_generation_prompt` False.
jinja::Value WithDefaults(const jinja::Value& variables);

}  // namespace lockstep::data
