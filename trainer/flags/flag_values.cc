#include "trainer/flags/flag_values.h"

#include <gflags/gflags.h>

#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/number.h"
#include "trainer/flags/user_path.h"

namespace lockstep {
namespace {

absl::Status WrongValue(absl::string_view flag, absl::string_view wanted,
                        const std::string& value) {
  return UserError(absl::StrCat("--", flag), absl::StrCat("want ", wanted, ", got \"", value, "\""),
                   WhatItMeans(flag));
}

}  // namespace

std::string WhatItMeans(absl::string_view flag) {
  gflags::CommandLineFlagInfo info;
  const bool known = gflags::GetCommandLineFlagInfo(std::string(flag).c_str(), &info);
  return known ? info.description : "--help lists the flags";
}

absl::Status WantFlags(const std::vector<std::string>& flags) {
  for (const std::string& flag : flags) {
    if (gflags::GetCommandLineFlagInfoOrDie(flag.c_str()).current_value.empty()) {
      return UserError(absl::StrCat("--", flag), "want a value, got nothing", WhatItMeans(flag));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<int64_t>> OptionalInteger(absl::string_view flag,
                                                       const std::string& value) {
  if (value.empty()) return std::optional<int64_t>();
  int64_t number;
  if (!absl::SimpleAtoi(value, &number)) return WrongValue(flag, "a whole number", value);
  return std::optional<int64_t>(number);
}

absl::StatusOr<std::optional<double>> OptionalNumber(absl::string_view flag,
                                                     const std::string& value) {
  if (value.empty()) return std::optional<double>();
  double number;
  if (!absl::SimpleAtod(value, &number) || !std::isfinite(number)) {
    return WrongValue(flag, "a number", value);
  }
  return std::optional<double>(number);
}

absl::Status CheckRange(absl::string_view flag, double value, double low, double high,
                        absl::string_view hint) {
  if (std::isfinite(value) && value >= low && value <= high) return absl::OkStatus();
  const std::string wanted = std::isinf(high)
                                 ? absl::StrCat("at least ", ShortestNumber(low))
                                 : absl::StrCat(ShortestNumber(low), " to ", ShortestNumber(high));
  return UserError(absl::StrCat("--", flag),
                   absl::StrCat("want ", wanted, ", got ",
                                std::isfinite(value) ? ShortestNumber(value) : absl::StrCat(value)),
                   hint.empty() ? WhatItMeans(flag) : std::string(hint));
}

std::vector<std::string> UserPaths(const std::string& comma_separated) {
  std::vector<std::string> paths;
  for (const absl::string_view path :
       absl::StrSplit(comma_separated, ',', absl::SkipWhitespace())) {
    paths.push_back(UserPath(absl::StripAsciiWhitespace(path)));
  }
  return paths;
}

}  // namespace lockstep
