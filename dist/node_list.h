// Slurm's compressed notations.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lockstep::dist {

// "gnode[08-10,25],login" -> gnode08 gnode09 gnode10 gnode25 login. Several brackets in one name
// multiply ("r[1-2]n[1-2]"). At most 100,000 names.
absl::StatusOr<std::vector<std::string>> ExpandNodeList(absl::string_view compressed);

// "2(x3),1" -> 2 2 2 1: tasks on each node.
absl::StatusOr<std::vector<int>> ExpandTasksPerNode(absl::string_view compressed);

}  // namespace lockstep::dist
