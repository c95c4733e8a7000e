// Whether two runs are the same: what decides the result, as text that can be compared by name.
#pragma once

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "trainer/flags/options.h"
#include "trainer/plan/training_data.h"

namespace lockstep {

// Name → value. Options appear by flag, a model's files by the hash of their content, documents by
// that of their tokens, so that another program that makes the same of them goes on. How many ranks
// there are, and how they were started, is not among them.
using RunIdentity = std::map<std::string, std::string>;

// Error: the model's folder cannot be read.
absl::StatusOr<RunIdentity> IdentityOf(const TrainOptions& options, const Documents& documents);

// OK if they are equal; otherwise a UserError at `where` that names what differs.
absl::Status CompareRuns(absl::string_view where, const RunIdentity& stored,
                         const RunIdentity& now);

// Identifies a folder's *.safetensors and *.json without reading all of it: names, sizes, and the
// hash of each small file or of samples of a large one.
absl::StatusOr<std::string> FolderFingerprint(const std::string& folder);

}  // namespace lockstep
