#include "data/tokenizer/tokenizer_config.h"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/model_files.h"
#include "base/status.h"
#include "data/tokenizer/json_text.h"
#include "data/tokenizer/settings.h"

namespace lockstep::data {
namespace {

using Json = nlohmann::json;
using Template = std::pair<std::string, std::string>;  // name, source

// A token: its text, or an object that has it as "content".
absl::StatusOr<std::string> TokenText(const Settings& setting) {
  return setting.IsObject() ? setting.String("content") : setting.String();
}

absl::Status ReadToken(const Settings& root, absl::string_view key,
                       std::optional<std::string>* token) {
  ASSIGN_OR_RETURN(const std::optional<Settings> setting, root.Find(key));
  if (!setting) return absl::OkStatus();
  ASSIGN_OR_RETURN(*token, TokenText(*setting));
  return absl::OkStatus();
}

// chat_template: a string, a list of {"name", "template"}, or an object of sources by name.
absl::Status ReadTemplates(const Settings& root, std::vector<Template>* templates) {
  ASSIGN_OR_RETURN(const std::optional<Settings> setting, root.Find("chat_template"));
  if (!setting) return absl::OkStatus();
  if (setting->IsString()) {
    ASSIGN_OR_RETURN(std::string source, setting->String());
    *templates = {{"default", std::move(source)}};
    return absl::OkStatus();
  }
  if (setting->IsObject()) {
    ASSIGN_OR_RETURN(const auto members, setting->Members());
    for (const auto& [name, member] : members) {
      ASSIGN_OR_RETURN(std::string source, member.String());
      templates->emplace_back(name, std::move(source));
    }
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::vector<Settings> elements, setting->Elements());
  for (const Settings& element : elements) {
    ASSIGN_OR_RETURN(std::string name, element.String("name"));
    ASSIGN_OR_RETURN(std::string source, element.String("template"));
    templates->emplace_back(std::move(name), std::move(source));
  }
  return absl::OkStatus();
}

absl::Status ReadStrings(const Settings& root, TokenizerConfig* config) {
  ASSIGN_OR_RETURN(const auto members, root.Members());
  for (const auto& [key, setting] : members) {
    std::string_view text;
    if (setting.IsString()) {
      ASSIGN_OR_RETURN(std::string value, setting.String());
      config->strings.emplace_back(key, std::move(value));
    } else if (setting.IsObject() && setting.value()["content"].get(text) == simdjson::SUCCESS) {
      config->strings.emplace_back(key, std::string(text));
    }
  }
  ASSIGN_OR_RETURN(const std::optional<Settings> more, root.Find("extra_special_tokens"));
  return more && more->IsObject() ? ReadStrings(*more, config) : absl::OkStatus();
}

// added_tokens_decoder: {"0": {"content", …}}.
absl::Status ReadAddedTokens(const Settings& root, TokenizerConfig* config) {
  ASSIGN_OR_RETURN(const std::optional<Settings> tokens, root.Find("added_tokens_decoder"));
  if (!tokens) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto members, tokens->Members());
  for (const auto& [id, token] : members) {
    ASSIGN_OR_RETURN(config->added_tokens.emplace_back(), ReadTokenDescription(token));
  }
  return absl::OkStatus();
}

absl::Status ReadConfig(const Settings& root, TokenizerConfig* config) {
  RETURN_IF_ERROR(ReadToken(root, "bos_token", &config->bos_token));
  RETURN_IF_ERROR(ReadToken(root, "eos_token", &config->eos_token));
  RETURN_IF_ERROR(ReadToken(root, "pad_token", &config->pad_token));
  RETURN_IF_ERROR(ReadToken(root, "unk_token", &config->unk_token));
  RETURN_IF_ERROR(ReadStrings(root, config));
  RETURN_IF_ERROR(ReadAddedTokens(root, config));
  return ReadTemplates(root, &config->chat_templates);
}

// Adds name and source of each *.jinja of a folder, if there is such a folder.
absl::Status ReadTemplatesIn(const std::string& folder, std::vector<Template>* templates) {
  if (!FileExists(folder)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<std::string> files, NamesIn(folder));
  for (const std::string& file : files) {
    absl::string_view name = file;
    if (!absl::ConsumeSuffix(&name, ".jinja")) continue;
    ASSIGN_OR_RETURN(std::string source, ReadFile(JoinPath(folder, file)));
    templates->emplace_back(name, std::move(source));
  }
  return absl::OkStatus();
}

// What lies beside tokenizer_config.json replaces what is in it.
absl::Status ReadTemplateFiles(absl::string_view folder, TokenizerConfig* config) {
  std::vector<Template> found;
  if (const std::string path = JoinPath(folder, "chat_template.jinja"); FileExists(path)) {
    ASSIGN_OR_RETURN(std::string source, ReadFile(path));
    found.emplace_back("default", std::move(source));
  }
  RETURN_IF_ERROR(ReadTemplatesIn(JoinPath(folder, kMoreTemplates), &found));
  if (!found.empty()) config->chat_templates = std::move(found);
  return absl::OkStatus();
}

// A JSON file's value; null if there is no such file.
absl::StatusOr<Json> ReadJson(const std::string& path) {
  if (!FileExists(path)) return Json();
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  if (const std::string problem = JsonProblem(text); !problem.empty()) {
    return UserError(path, absl::StrCat("this is not JSON: ", problem),
                     "the file is damaged or incomplete: fetch it again");
  }
  Json json = Json::parse(text);
  if (!json.is_object()) return UserError(path, "want a JSON object");
  return json;
}

// Calls read(root) on what was read from `path`, if it was there.
absl::Status Read(const std::string& path, const Json& json,
                  absl::FunctionRef<absl::Status(const Settings&)> read) {
  if (json.is_null()) return absl::OkStatus();
  simdjson::dom::parser parser;
  ASSIGN_OR_RETURN(const simdjson::dom::element document, ParseJson(parser, json.dump(), path));
  return read(Settings(path, document));
}

}  // namespace

const std::string* TokenizerConfig::ChatTemplate(absl::string_view name) const {
  for (const Template& chat_template : chat_templates) {
    if (chat_template.first == name) return &chat_template.second;
  }
  return nullptr;
}

absl::StatusOr<TokenizerConfig> ReadTokenizerConfig(absl::string_view folder) {
  TokenizerConfig config;
  std::string where = JoinPath(folder, "tokenizer_config.json");
  ASSIGN_OR_RETURN(Json json, ReadJson(where));
  ASSIGN_OR_RETURN(const Json map, ReadJson(JoinPath(folder, "special_tokens_map.json")));
  // As in transformers: beside that key the map is passed over, without it the map has the last
  // word.
  if (!map.is_null() && !json.contains("added_tokens_decoder")) {
    json.update(map);
    absl::StrAppend(&where, " with special_tokens_map.json");
  }
  RETURN_IF_ERROR(
      Read(where, json, [&](const Settings& root) { return ReadConfig(root, &config); }));
  if (config.chat_templates.empty()) {
    const std::string older = JoinPath(folder, "chat_template.json");
    ASSIGN_OR_RETURN(const Json templates, ReadJson(older));
    RETURN_IF_ERROR(Read(older, templates, [&](const Settings& root) {
      return ReadTemplates(root, &config.chat_templates);
    }));
  }
  RETURN_IF_ERROR(ReadTemplateFiles(folder, &config));
  return config;
}

}  // namespace lockstep::data
