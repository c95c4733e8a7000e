#include "trainer/flags/user_path.h"

#include <cstdlib>

#include "absl/strings/match.h"
#include "base/file.h"

namespace lockstep {

std::string UserPath(absl::string_view path) {
  const char* home = std::getenv("HOME");
  if (home != nullptr && absl::StartsWith(path, "~/")) return JoinPath(home, path.substr(2));
  const char* start = std::getenv("BUILD_WORKING_DIRECTORY");
  if (start == nullptr || path.empty() || path == "-") return std::string(path);
  return JoinPath(start, path);
}

}  // namespace lockstep
