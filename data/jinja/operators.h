// Python's operators, subscripts and attributes on values.
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "data/jinja/ast.h"
#include "data/jinja/value.h"

namespace lockstep::data::jinja {

// kAdd … kPower. Integers beyond 128 bits, sequences and strings beyond kMaxWeight are errors.
Value Arithmetic(Operator op, const Value& a, const Value& b);
// kEqual … kNotIn.
bool Compare(Operator op, const Value& a, const Value& b);
Value Negate(const Value& value);
Value Plus(const Value& value);

// a < b, for sorting: numbers, strings and sequences of them.
bool Less(const Value& a, const Value& b);
bool Contains(const Value& container, const Value& item);

// object[key]: the item, else the attribute of that name, else undefined.
Value GetItem(const Value& object, const Value& key);
// object.name: the attribute (a method, mostly), else the item, else undefined.
Value GetAttribute(const Value& object, const Value& name);
// The attribute alone: methods (methods.h) and what engine objects have.
std::optional<Value> FindAttribute(const Value& object, const std::string& name);
// object[start:stop:step]; each bound an integer or None.
Value GetSlice(const Value& object, const Value& start, const Value& stop, const Value& step);

Value UndefinedWithHint(absl::string_view hint);
Value UndefinedVariable(const std::string& name);
Value UndefinedAttribute(const Value& object, const Value& name);
[[noreturn]] void ThrowUndefined(const Value& undefined);

// An integer argument (bools count): the error says what was wanted.
Int AsInteger(const Value& value);
int64_t AsIndex(const Value& value);  // clipped to 64 bits

// Text that keeps being Markup if `like` is.
Value Text(std::string text, const Value& like);
// What Markup does to text that joins it.
std::string Escaped(const Value& value);

}  // namespace lockstep::data::jinja
