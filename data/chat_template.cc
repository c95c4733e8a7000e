#include "data/chat_template.h"

#include <utility>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace lockstep::data {

namespace {

// https://github.com/openai/openai-python/blob/release-v0.28.0/chatml.md
constexpr char kChatMl[] =
    "{% for message in messages %}"
    "{{ '<|im_start|>' ~ message['role'] ~ '\\n' ~ message['content'] ~ '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

}  // namespace

absl::StatusOr<std::string> ReadChatTemplate(absl::string_view flag) {
  if (flag == "chatml") return std::string(kChatMl);
  absl::StatusOr<std::string> source = ReadFile(flag);
  if (!source.ok()) return Annotate(source.status(), "--chat_template");
  return source;
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
