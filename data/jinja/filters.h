// The filters of jinja2, with `tojson` as transformers has it. https://jinja.palletsprojects.com
#pragma once

#include <functional>

#include "absl/strings/string_view.h"
#include "data/jinja/interpreter.h"
#include "data/jinja/value.h"

namespace lockstep::data::jinja {

using Filter = Value (*)(Interpreter& interpreter, const Value& value, const Arguments& arguments);

// Null if there is none of that name.
Filter FindFilter(absl::string_view name);

// The files that hold them.
Filter FindStringFilter(absl::string_view name);    // text to text
Filter FindSequenceFilter(absl::string_view name);  // over items
Filter FindSortingFilter(absl::string_view name);   // by a key
Filter FindScalarFilter(absl::string_view name);    // numbers, defaults, JSON, HTML

// The function of `attribute="a.b.0"` arguments: items of items; undefined where one is missing,
// or `fallback` if it is not null.
std::function<Value(const Value&)> AttributeGetter(const Value& attribute, const Value* fallback);

// A generator, that is walked once. `source`: what its items come from.
Value Generator(const Value& source, std::function<bool(Value*)> next);

}  // namespace lockstep::data::jinja
