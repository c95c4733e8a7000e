// tokenizer_config.json of a Hugging Face model folder: what a trainer wants to know of it.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/tokenizer/token_description.h"

namespace lockstep::data {

struct TokenizerConfig {
  // The text of the special tokens, if they are named. In the file a string or an object with
  // "content". Where it has no added_tokens_decoder, what special_tokens_map.json beside it says
  // comes before its own words; else that file is passed over.
  std::optional<std::string> bos_token;
  std::optional<std::string> eos_token;
  std::optional<std::string> pad_token;
  std::optional<std::string> unk_token;

  // Of added_tokens_decoder.
  std::vector<TokenDescription> added_tokens;

  // Chat templates by name. A single one is named "default". From chat_template.jinja (and
  // additional_chat_templates/NAME.jinja) beside the file, which win; from the older
  // chat_template.json; or from the key chat_template, a string or a list of {"name", "template"}.
  std::vector<std::pair<std::string, std::string>> chat_templates;

  // Every key whose value is a string (or an object with "content"), those of extra_special_tokens
  // too, as a template's variables need them: bos_token, image_token, …
  std::vector<std::pair<std::string, std::string>> strings;

  // The template of this name, or null.
  const std::string* ChatTemplate(absl::string_view name = "default") const;
};

// Reads FOLDER/tokenizer_config.json and the template files beside it. A folder without any of them
// gives an empty config; a file that is no JSON object, or has a value of a wrong type, is an error
// that names it.
absl::StatusOr<TokenizerConfig> ReadTokenizerConfig(absl::string_view folder);

}  // namespace lockstep::data
