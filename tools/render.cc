// Renders chats by a model's chat template; reference/cli.md, "Tools".
#include <gflags/gflags.h>

#include <iostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status.h"
#include "data/chat_template.h"
#include "data/jinja/json.h"
#include "data/jinja/repr.h"
#include "data/jinja/template.h"
#include "tools/tool_main.h"

DEFINE_string(chat_template, "", "a .jinja file, or chatml, which is built in");
DEFINE_string(template_date, "",
              "what strftime_now takes for now: YYYY-MM-DD[THH:MM:SS]; the start");

namespace lockstep {
namespace {

using data::jinja::Value;

constexpr char kUsage[] =
    "Renders chats: reads one JSON object a line on standard input, with messages, tools, "
    "add_generation_prompt and\nany other variable of the template, and writes {\"text\"} or "
    "{\"error\"} a line.\n  render --chat_template FILE < chats.jsonl";

absl::StatusOr<std::string> Render(const data::jinja::Template& chat, absl::string_view line,
                                   const data::jinja::RenderOptions& options) {
  ASSIGN_OR_RETURN(const Value variables, data::jinja::ParseJson(line));
  if (!variables.is_dict()) return UserError("line", "want a JSON object");
  ASSIGN_OR_RETURN(data::jinja::Rendered rendered, chat.Render(variables, options));
  return std::move(rendered.text);
}

absl::Status Run(const std::vector<std::string>&) {
  if (FLAGS_chat_template.empty()) {
    return UserError("--chat_template", "want a .jinja file or chatml, got nothing");
  }
  const bool built_in = FLAGS_chat_template == "chatml";
  ASSIGN_OR_RETURN(
      const std::string source,
      data::ReadChatTemplate(built_in ? FLAGS_chat_template : UserPath(FLAGS_chat_template)));
  ASSIGN_OR_RETURN(const data::jinja::Template chat,
                   data::jinja::Template::Parse(source, FLAGS_chat_template));
  data::jinja::RenderOptions options;
  options.now = FLAGS_template_date.empty()
                    ? absl::FormatTime("%Y-%m-%dT%H:%M:%S", absl::Now(), absl::LocalTimeZone())
                    : FLAGS_template_date;
  data::jinja::JsonOptions json;
  json.ensure_ascii = true;  // U+2028 in a text must not look like the end of a line
  for (std::string line; std::getline(std::cin, line);) {
    const absl::StatusOr<std::string> text = Render(chat, line, options);
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
