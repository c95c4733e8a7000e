#include "data/chat_template.h"

#include <utility>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace lockstep::data {

namespace {

// https://github.com/openai/openai-python/blob/release-v0.28.0/chatml.md
// It has no form for calls and pictures: a chat with them is refused, not trained without them.
constexpr char kChatMl[] =
    "{% for message in messages %}"
    "{{ '<|im_start|>' ~ message['role'] ~ '\\n' }}"
    "{% if message['tool_calls'] %}"
    "{{ raise_exception('chatml has no form for tool calls: use a template that has one') }}"
    "{% elif message['content'] is string %}"
    "{{ message['content'] }}"
    "{% else %}"
    "{% for part in message['content'] or [] %}"
    "{% if part is string %}{{ part }}"
    "{% elif part['text'] is string %}{{ part['text'] }}"
    "{% else %}{{ raise_exception('chatml has no form for a part of content without text') }}"
    "{% endif %}"
    "{% endfor %}"
    "{% endif %}"
    "{{ '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

}  // namespace

absl::StatusOr<std::string> ReadChatTemplate(absl::string_view flag) {
  if (flag == "chatml") return std::string(kChatMl);
  absl::StatusOr<std::string> source = ReadFile(flag);
  if (!source.ok()) return Annotate(source.status(), "--chat_template");
  return source;
}

absl::StatusOr<jinja::Template> ParseChatTemplate(absl::string_view source,
                                                  absl::string_view name) {
  absl::StatusOr<jinja::Template> parsed = jinja::Template::Parse(source, name);
  if (parsed.ok()) return parsed;
  return WithHint(parsed.status(), "mend the template, or name another one with --chat_template");
}

jinja::Value WithDefaults(const jinja::Value& variables) {
  using jinja::Value;
  std::vector<std::pair<Value, Value>> items = {
      {Value::String("tools"), Value::None()},
      {Value::String("documents"), Value::None()},
      {Value::String("add_generation_prompt"), Value::Bool(false)}};
  const auto& given = variables.dict().items;
  items.insert(items.end(), given.begin(), given.end());
  return Value::Dict(std::move(items));
}

}  // namespace lockstep::data
