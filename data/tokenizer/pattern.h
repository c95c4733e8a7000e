// {"String": …} or {"Regex": …}: the pattern of Split and Replace.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "data/tokenizer/regex.h"
#include "data/tokenizer/settings.h"

namespace lockstep::data {

absl::StatusOr<std::unique_ptr<const Regex>> MakePattern(const Settings& settings);

}  // namespace lockstep::data
