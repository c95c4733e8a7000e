#include "data/jinja/arguments.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "data/jinja/operators.h"

namespace lockstep::data::jinja {

BoundArguments::BoundArguments(absl::string_view function, const Arguments& arguments,
                               std::initializer_list<absl::string_view> parameters, size_t required)
    : function_(function), values_(parameters.size(), nullptr) {
  if (arguments.positional.size() > parameters.size()) {
    throw TemplateError(absl::StrCat(function, "() takes at most ", parameters.size(),
                                     " arguments (", arguments.positional.size(), " given)"));
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.keyword) {
    const auto* at = std::find(parameters.begin(), parameters.end(), name);
    if (at == parameters.end()) {
      throw TemplateError(
          absl::StrCat(function, "() got an unexpected keyword argument '", name, "'"));
    }
    const Value*& slot = values_[at - parameters.begin()];
    if (slot != nullptr) {
      throw TemplateError(
          absl::StrCat(function, "() got multiple values for argument '", name, "'"));
    }
    slot = &value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (values_[i] != nullptr) continue;
    throw TemplateError(
        absl::StrCat(function, "() missing required argument '", *(parameters.begin() + i), "'"));
  }
}

bool BoundArguments::Flag(size_t i, bool fallback) const {
  return Has(i) ? Truthy(*values_[i]) : fallback;
}

int64_t BoundArguments::Index(size_t i, int64_t fallback) const {
  return Has(i) ? AsIndex(*values_[i]) : fallback;
}

const std::string& BoundArguments::String(size_t i) const {
  return RequireString(*values_[i], function_);
}

const std::string& RequireString(const Value& value, absl::string_view function) {
  if (value.is_string()) return value.str();
  if (value.is_undefined()) ThrowUndefined(value);
  throw TemplateError(absl::StrCat(function, "() argument must be str, not ", TypeName(value)));
}

}  // namespace lockstep::data::jinja
