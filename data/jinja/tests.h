// The tests of jinja2: what may stand behind `is`. https://jinja.palletsprojects.com
#pragma once

#include "absl/strings/string_view.h"
#include "data/jinja/value.h"

namespace lockstep::data::jinja {

using Test = bool (*)(const Value& value, const Arguments& arguments);

// Null if there is none of that name.
Test FindTest(absl::string_view name);

}  // namespace lockstep::data::jinja
