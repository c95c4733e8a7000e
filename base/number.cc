#include "base/number.h"

#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace lockstep {

std::string ShortestNumber(double value) {
  if (!std::isfinite(value)) return "null";
  char buffer[40];
  const std::to_chars_result end = std::to_chars(buffer, buffer + sizeof(buffer), value);
  return std::string(buffer, end.ptr);
}

std::string ClockTime(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  const int64_t s = std::llround(seconds);
  if (s < 3600) return absl::StrFormat("%d:%02d", s / 60, s % 60);
  return absl::StrFormat("%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60);
}

std::string HumanCount(double count) {
  if (count < 1000) return absl::StrCat(std::llround(count));
  const char* unit = "k";
  for (const char* next : {"M", "G", "T"}) {
    if (count < 999.5e3) break;
    count /= 1000;
    unit = next;
  }
  return absl::StrFormat("%.3g%s", count / 1000, unit);
}

std::string HumanBytes(double bytes) {
  if (bytes < 1024) return absl::StrFormat("%.0f B", bytes);
  const char* unit = "KiB";
  bytes /= 1024;
  for (const char* next : {"MiB", "GiB", "TiB"}) {
    if (bytes < 1024) break;
    bytes /= 1024;
    unit = next;
  }
  return absl::StrFormat("%.*f %s", bytes < 10 ? 2 : bytes < 100 ? 1 : 0, bytes, unit);
}

std::string TableRow(const std::string& name, const std::string& value) {
  return absl::StrFormat("  %-26s  %s", name, value);
}

}  // namespace lockstep
