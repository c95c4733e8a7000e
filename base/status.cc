#include "base/status.h"

#include <cstring>

#include "absl/strings/str_cat.h"

namespace lockstep {

absl::Status UserError(absl::string_view where, absl::string_view problem, absl::string_view hint) {
  std::string text = absl::StrCat("[", where, "] ", problem);
  if (!hint.empty()) absl::StrAppend(&text, "\nHINT: ", hint);
  return absl::InvalidArgumentError(text);
}

absl::Status SystemError(absl::string_view where, absl::string_view action, int error_number,
                         absl::string_view hint) {
  return UserError(where, absl::StrCat(action, ": ", strerror(error_number)), hint);
}

absl::Status Annotate(const absl::Status& status, absl::string_view where) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat("[", where, "] ", status.message()));
}

}  // namespace lockstep
