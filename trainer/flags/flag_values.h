// From a flag's text to a value: numbers without one default (such flags are strings, empty until
// the user gives a value), ranges, choices, paths. Errors name the flag, what was wanted and what
// was got.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/status.h"

namespace lockstep {

// The HINT where there is nothing better to say: the flag's description.
std::string WhatItMeans(absl::string_view flag);

// An error for the first of these string flags that is empty.
absl::Status WantFlags(const std::vector<std::string>& flags);

// nullopt for "".
absl::StatusOr<std::optional<int64_t>> OptionalInteger(absl::string_view flag,
                                                       const std::string& value);
absl::StatusOr<std::optional<double>> OptionalNumber(absl::string_view flag,
                                                     const std::string& value);

// low <= value <= high, else an error.
absl::Status CheckRange(absl::string_view flag, double value, double low, double high,
                        absl::string_view hint = "");

// One of `choices`, by name.
template <typename T>
absl::StatusOr<T> Choice(absl::string_view flag, const std::string& value,
                         const std::vector<std::pair<std::string, T>>& choices) {
  std::string names;
  for (const auto& [name, choice] : choices) {
    if (name == value) return choice;
    names += (names.empty() ? "" : ", ") + name;
  }
  return UserError("--" + std::string(flag), "want one of " + names + "; got \"" + value + "\"",
                   WhatItMeans(flag));
}

// "a,b" → each as the user means it (trainer/flags/user_path.h).
std::vector<std::string> UserPaths(const std::string& comma_separated);

}  // namespace lockstep
