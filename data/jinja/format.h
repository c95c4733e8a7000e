// Python's two ways of formatting: "…%s…" % values and "…{}…".format(values).
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "data/jinja/value.h"

namespace lockstep::data::jinja {

// format % arguments: a tuple's items, a dict's values by name, or one value.
Value PercentFormat(const Value& format, const Value& arguments);

// format.format(…), in the sandbox: fields may name items and attributes.
Value BraceFormat(const Value& format, const Arguments& arguments);

// format(value, spec), of str, int and float.
std::string FormatField(const Value& value, absl::string_view spec);

// "%.<precision><conversion>" of C, for e, E, f, F, g and G.
std::string FormatDouble(double value, char conversion, int precision, bool alternate);

}  // namespace lockstep::data::jinja
