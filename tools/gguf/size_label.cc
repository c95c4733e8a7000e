#include "tools/gguf/size_label.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_format.h"

namespace lockstep {

std::string SizeLabel(int64_t num_weights) {
  constexpr std::pair<double, const char*> kUnits[] = {
      {1e12, "T"}, {1e9, "B"}, {1e6, "M"}, {1e3, "K"}};
  const auto count = static_cast<double>(num_weights);
  const auto* unit = kUnits;
  while (count < unit->first && unit->first > 1e3) ++unit;
  const double scaled = count / unit->first, whole = std::nearbyint(scaled);
  const int decimals = whole >= 10 ? 0 : whole >= 1 ? 1 : 2;
  return absl::StrFormat("%.*f%s", decimals, scaled, unit->second);
}

}  // namespace lockstep
