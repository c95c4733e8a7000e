// Python's textwrap and pprint: text laid out to a width.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "data/jinja/value.h"

namespace lockstep::data::jinja {

struct WrapOptions {
  int64_t width = 79;  // code points, at least 1
  bool break_long_words = true;
  bool break_on_hyphens = true;
};

// textwrap.wrap(line, …, expand_tabs=False, replace_whitespace=False): the line's lines.
std::vector<std::string> WrapLine(absl::string_view line, const WrapOptions& options);

// pprint.pformat(value): repr(value), but dicts sorted and what is wider than 80 on several lines.
std::string PrettyRepr(const Value& value);

}  // namespace lockstep::data::jinja
