// Methods of Python's own types that the sandbox leaves to templates.
#pragma once

#include <optional>
#include <string>

#include "data/jinja/value.h"

namespace lockstep::data::jinja {

// The method `name` bound to `object`, or an attribute such as (3).real. One that would change a
// list or a dict is an undefined that cannot be called.
std::optional<Value> FindMethod(const Value& object, const std::string& name);

// The method of a str; of its own file.
std::optional<Value> FindStringMethod(const Value& object, const std::string& name);

}  // namespace lockstep::data::jinja
