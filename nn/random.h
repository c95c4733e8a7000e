// First values of parameters: a pure function of (seed, parameter's name, element), so that they do
// not depend on the layout, the order of initialization or the number of ranks.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"

namespace lockstep::nn {

// `numel` elements, uniform in [-bound, bound).
std::vector<float> UniformValues(uint64_t seed, absl::string_view name, int64_t numel,
                                 double bound);

// `numel` elements, normal with mean 0 (Box and Muller).
std::vector<float> NormalValues(uint64_t seed, absl::string_view name, int64_t numel,
                                double standard_deviation);

}  // namespace lockstep::nn
