// The global functions: range, dict, namespace, cycler, joiner, raise_exception, strftime_now.
#pragma once

#include <optional>
#include <string>

#include "data/jinja/value.h"

namespace lockstep::data::jinja {

std::optional<Value> FindFunction(const std::string& name);

// strftime of `now` ("YYYY-MM-DD" or "YYYY-MM-DDTHH:MM:SS") in the C locale.
std::string FormatTime(const std::string& now, const std::string& format);

}  // namespace lockstep::data::jinja
