// Renders chats by a model's chat template; docs/tools.md.
#include <gflags/gflags.h>

#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status.h"
#include "data/chat_template.h"
#include "data/jinja/json.h"
#include "data/jinja/repr.h"
#include "data/jinja/template.h"
#include "data/tokenizer/tokenizer_config.h"
#include "trainer/flags/model_folder.h"
#include "trainer/flags/program.h"
#include "trainer/flags/user_path.h"

DEFINE_string(chat_template, "", "A .jinja file, or chatml. Default: the model's.");
DEFINE_string(model, "",
              "A model's folder or hub id: its chat template and the texts of its special tokens.");
DEFINE_string(template_date, "",
              "What strftime_now takes for now: YYYY-MM-DD[THH:MM:SS]. Default: the start.");

namespace lockstep {
namespace {

using data::jinja::Value;

constexpr char kUsage[] =
    "Renders chats: reads one JSON object a line on standard input, with messages, tools,\n"
    "add_generation_prompt and any other variable of the template, and writes\n"
    "{\"text\"} or {\"error\"} a line.\n\n"
    "  render --model=DIR < chats.jsonl\n"
    "  render --chat_template=FILE < chats.jsonl";

struct Templates {
  data::jinja::Template chat, with_tools;
};

// `own`: variables that the line need not bring.
absl::StatusOr<std::string> Render(const Templates& templates, absl::string_view line,
                                   std::vector<std::pair<Value, Value>> own,
                                   const data::jinja::RenderOptions& options) {
  ASSIGN_OR_RETURN(const Value given, data::jinja::ParseJson(line));
  if (!given.is_dict()) return UserError("line", "want a JSON object");
  own.insert(own.end(), given.dict().items.begin(), given.dict().items.end());
  const Value variables = Value::Dict(std::move(own));
  const Value* tools = variables.Find("tools");
  const bool has_tools = tools != nullptr && !tools->is_none();
  const data::jinja::Template& chosen = has_tools ? templates.with_tools : templates.chat;
  ASSIGN_OR_RETURN(data::jinja::Rendered rendered, chosen.Render(variables, options));
  return std::move(rendered.text);
}

struct Source {
  std::string text, tool_text;  // the template, and that of chats with tools
  std::string name;
  std::vector<std::pair<Value, Value>> variables;  // the model's own: bos_token, …
};

absl::StatusOr<Source> ReadSource() {
  if (FLAGS_chat_template.empty() && FLAGS_model.empty()) {
    return UserError("--chat_template", "want a .jinja file, chatml or --model, got nothing");
  }
  Source out;
  if (!FLAGS_model.empty()) {
    ASSIGN_OR_RETURN(const std::string folder, FindModelFolder(FLAGS_model));
    ASSIGN_OR_RETURN(const data::TokenizerConfig config, data::ReadTokenizerConfig(folder));
    for (const auto& [name, text] : config.strings) {
      out.variables.emplace_back(Value::String(name), Value::String(text));
    }
    const std::string* own = config.ChatTemplate();
    if (own == nullptr && FLAGS_chat_template.empty()) {
      return UserError("--model", "this model has no chat template",
                       "name one with --chat_template; chatml is built in");
    }
    if (own != nullptr) out.text = out.tool_text = *own;
    const std::string* for_tools = config.ChatTemplate("tool_use");
    if (for_tools != nullptr) out.tool_text = *for_tools;
    out.name = "chat_template";
  }
  if (!FLAGS_chat_template.empty()) {
    out.name = FLAGS_chat_template;
    ASSIGN_OR_RETURN(out.text, data::ReadChatTemplate(FLAGS_chat_template == "chatml"
                                                          ? FLAGS_chat_template
                                                          : UserPath(FLAGS_chat_template)));
    out.tool_text = out.text;
  }
  return out;
}

absl::Status Run() {
  ASSIGN_OR_RETURN(const Source source, ReadSource());
  Templates templates;
  ASSIGN_OR_RETURN(templates.chat, data::ParseChatTemplate(source.text, source.name));
  ASSIGN_OR_RETURN(templates.with_tools, data::ParseChatTemplate(source.tool_text, source.name));
  data::jinja::RenderOptions options;
  options.now = FLAGS_template_date.empty()
                    ? absl::FormatTime("%Y-%m-%dT%H:%M:%S", absl::Now(), absl::LocalTimeZone())
                    : FLAGS_template_date;
  data::jinja::JsonOptions json;
  json.ensure_ascii = true;  // U+2028 in a text must not look like the end of a line
  for (std::string line; std::getline(std::cin, line);) {
    const absl::StatusOr<std::string> text = Render(templates, line, source.variables, options);
    const Value out =
        Value::Dict({{Value::String(text.ok() ? "text" : "error"),
                      Value::String(text.ok() ? *text : std::string(text.status().message()))}});
    std::cout << data::jinja::ToJson(out, json) << std::endl;
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  return lockstep::ToolMain(argc, argv, lockstep::kUsage, lockstep::Run);
}
