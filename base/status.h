// Errors of users and of their environment.
//
// Two kinds of error exist in this project, and they never mix:
//   * What a user or the environment did (files, flags, data, network) is an absl::Status, made
//     with UserError(), carried up to main() and printed there once as one paragraph; the process
//     exits 1.
//   * What a programmer did wrong, and every failure of CUDA, NCCL or cuBLASLt, is a CHECK of glog:
//     fatal on the spot, with file, line and rank; the process exits 2.
//
// The form of both:   [rms_norm] weight: want shape [768], got [512]
//                     HINT: the checkpoint belongs to another model size
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lockstep {

// An InvalidArgument status with the text "[where] problem", and below it "HINT: hint" if there is
// one. `where` names the flag, or file:line, or the JSON line and byte; `problem` says what was
// wanted and what was got; `hint` is what the user can do about it.
absl::Status UserError(absl::string_view where, absl::string_view problem,
                       absl::string_view hint = "");

// "cannot open": strerror(error_number), e.g. for the last failed system call. Without a `hint`,
// the usual way out of that error is given, if there is one.
absl::Status SystemError(absl::string_view where, absl::string_view action, int error_number,
                         absl::string_view hint = "");

// `status` with "HINT: hint" below its message unless it has a hint; an OK status stays as it is.
absl::Status WithHint(const absl::Status& status, absl::string_view hint);

// `status` with "[where] " put before its message; an OK status stays as it is.
absl::Status Annotate(const absl::Status& status, absl::string_view where);

}  // namespace lockstep

#define LOCKSTEP_CONCAT_INNER(a, b) a##b
#define LOCKSTEP_CONCAT(a, b) LOCKSTEP_CONCAT_INNER(a, b)

// Returns from the calling function if `expression` (an absl::Status) is an error.
#define RETURN_IF_ERROR(expression)                                           \
  do {                                                                        \
    if (absl::Status lockstep_status = (expression); !lockstep_status.ok()) { \
      return lockstep_status;                                                 \
    }                                                                         \
  } while (false)

// ASSIGN_OR_RETURN(const auto config, ReadConfig(path));
#define ASSIGN_OR_RETURN(declaration, expression) \
  LOCKSTEP_ASSIGN_OR_RETURN(LOCKSTEP_CONCAT(status_or_, __LINE__), declaration, expression)
#define LOCKSTEP_ASSIGN_OR_RETURN(temporary, declaration, expression) \
  auto temporary = (expression);                                      \
  if (!temporary.ok()) return temporary.status();                     \
  declaration = *std::move(temporary)
