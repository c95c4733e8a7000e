// --columns: documents whose keys have other names than ours (data/examples.h).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/jinja/value.h"

namespace lockstep::data {

using Columns = std::vector<std::pair<std::string, std::string>>;  // ours, theirs

// "prompt:question,completion:answer".
absl::StatusOr<Columns> ParseColumns(absl::string_view flag);

// The document, a dict, with our names. A key of a name that is ours but means another's is left
// out.
jinja::Value Renamed(const jinja::Value& document, const Columns& columns);

// Error: a column that no document has. `keys` are those of all documents, as the files name them.
absl::Status CheckColumns(const Columns& columns, const std::vector<std::string>& keys);

}  // namespace lockstep::data
