// Arguments of a built-in function bound to its parameters, as Python does it.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "data/jinja/value.h"

namespace lockstep::data::jinja {

class BoundArguments {
 public:
  // The first `required` parameters must be given. Throws for missing, unknown, doubled or
  // surplus arguments.
  BoundArguments(absl::string_view function, const Arguments& arguments,
                 std::initializer_list<absl::string_view> parameters, size_t required = 0);

  bool Has(size_t i) const { return values_[i] != nullptr; }
  // Null if it was not given.
  const Value* Get(size_t i) const { return values_[i]; }
  const Value& operator[](size_t i) const { return *values_[i]; }
  // With a default:
  bool Flag(size_t i, bool fallback) const;
  int64_t Index(size_t i, int64_t fallback) const;
  // None counts as not given.
  bool HasValue(size_t i) const { return Has(i) && !values_[i]->is_none(); }
  // A string argument; throws for another type.
  const std::string& String(size_t i) const;

 private:
  std::string function_;
  std::vector<const Value*> values_;
};

// The text of a string value; throws for another type, naming the function.
const std::string& RequireString(const Value& value, absl::string_view function);

}  // namespace lockstep::data::jinja
