// Any bytes as a template: an error or a text, never a crash or a hang.
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "base/check.h"
#include "data/jinja/json.h"
#include "data/jinja/template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lockstep::data::jinja;
  static const Value& variables = *new Value(*ParseJson(R"({
      "messages": [{"role": "user", "content": "hi é"}, {"role": "assistant", "content": null,
                    "tool_calls": [{"function": {"name": "f", "arguments": {"a": [1, 2.5]}}}]}],
      "tools": null, "bos_token": "<s>", "x": 3, "add_generation_prompt": true})"));
  const absl::string_view source(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<Template> parsed = Template::Parse(source, "fuzz");
  if (!parsed.ok()) return 0;
  RenderOptions options;
  options.now = "2026-11-22";
  options.max_steps = 20'000;
  options.max_output_bytes = 1 << 16;
  const absl::StatusOr<Rendered> out = parsed->Render(variables, options);
  if (out.ok()) {
    for (const auto& [begin, end] : out->generation_spans) {
      CHECK_LE(begin, end);
      CHECK_LE(end, static_cast<int64_t>(out->text.size()));
    }
  }
  return 0;
}
