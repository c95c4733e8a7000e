#include "base/status.h"

#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace lockstep {
namespace {

absl::string_view UsualWayOut(int error_number) {
  switch (error_number) {
    case ENOENT:
      return "check the path; a relative one starts in the folder where the command was typed";
    case ENOTDIR:
    case EISDIR:
      return "a part of the path is a file where a folder is wanted, or the other way round";
    case EACCES:
    case EPERM:
    case EROFS:
      return "choose a place that this user may read and write";
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return "make room there, or choose a folder on another disk";
    case EMFILE:
    case ENFILE:
      return "allow more open files: ulimit -n";
    case ENOMEM:
      return "see what else uses memory here, a container's limit, and ulimit -v";
    default:
      return "";
  }
}

}  // namespace

absl::Status UserError(absl::string_view where, absl::string_view problem, absl::string_view hint) {
  std::string text = absl::StrCat("[", where, "] ", problem);
  if (!hint.empty()) absl::StrAppend(&text, "\nHINT: ", hint);
  return absl::InvalidArgumentError(text);
}

absl::Status SystemError(absl::string_view where, absl::string_view action, int error_number,
                         absl::string_view hint) {
  return UserError(where, absl::StrCat(action, ": ", strerror(error_number)),
                   hint.empty() ? UsualWayOut(error_number) : hint);
}

absl::Status WithHint(const absl::Status& status, absl::string_view hint) {
  if (status.ok() || absl::StrContains(status.message(), "\nHINT: ")) return status;
  return absl::Status(status.code(), absl::StrCat(status.message(), "\nHINT: ", hint));
}

absl::Status Annotate(const absl::Status& status, absl::string_view where) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat("[", where, "] ", status.message()));
}

}  // namespace lockstep
