// Where a model lies that the user named.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace lockstep {

// An environment variable that is set and not empty, else `otherwise`.
std::string EnvironmentOr(const char* variable, const std::string& otherwise);

// The folder of a model that the user named: a folder, or a hub id (org/name) that lies in the
// local Hugging Face cache. Nothing is downloaded; the HINT of the error is the command that would.
absl::StatusOr<std::string> FindModelFolder(const std::string& name);

// What a model in `folder` is called elsewhere: its hub id if it lies in a Hugging Face cache
// (…/models--org--name/snapshots/COMMIT), whether the user named the id or the folder; else
// `folder`.
std::string ModelName(const std::string& folder);

}  // namespace lockstep
