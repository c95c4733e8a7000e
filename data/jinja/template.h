// A Jinja engine for chat templates: what jinja2 does in the environment of transformers.
//
//   ASSIGN_OR_RETURN(const Template chat, Template::Parse(source, "chat_template"));
//   ASSIGN_OR_RETURN(const Rendered text, chat.Render(variables, {}));
//
// The environment: trim_blocks, lstrip_blocks, no trailing newline kept, lenient Undefined, no
// autoescape, an immutable sandbox (list.append and its like are errors), loop controls,
// {% generation %} blocks, `tojson` as json.dumps(ensure_ascii=False), the functions
// raise_exception, strftime_now, namespace, range, dict, cycler and joiner; all filters and tests
// but those below. Nothing is read from files and templates cannot load others. Not there, and
// refused by name: the filter random and lipsum() (the text would change by itself), the filter
// urlize (links of HTML), str.encode and str.translate, {% autoescape %}, integers beyond 128 bits.
//
// A Template is immutable; many threads may render it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/jinja/value.h"

namespace lockstep::data::jinja {

struct Module;

struct RenderOptions {
  // What strftime_now takes for now: "YYYY-MM-DD" or "YYYY-MM-DDTHH:MM:SS". Empty: using it is an
  // error, as the text would change by the day.
  std::string now;
  int64_t max_steps = 20'000'000;               // statements, expressions, loop turns, bytes / 256
  int64_t max_output_bytes = int64_t{1} << 28;  // of the text
  int max_depth = 1500;                         // of nested evaluation
};

struct Rendered {
  std::string text;
  // Bytes [begin, end) of `text` that {% generation %} blocks wrote, in macros too.
  std::vector<std::pair<int64_t, int64_t>> generation_spans;
  // True if what a block wrote went through a filter or was thrown away, so that spans are missing.
  bool spans_lost = false;
};

class Template {
 public:
  // `name` is how errors call it: "[chat_template line 12] …".
  static absl::StatusOr<Template> Parse(absl::string_view source, absl::string_view name);

  // `variables` is a dict. Errors: everything that raises in jinja2, and the limits.
  absl::StatusOr<Rendered> Render(const Value& variables, const RenderOptions& options) const;

  // True if the source has a {% generation %} block.
  bool has_generation() const;

 private:
  std::string name_;
  std::shared_ptr<const Module> module_;
};

}  // namespace lockstep::data::jinja
