// tokenizer.json, read: the large parts into tables, the small ones kept as JSON.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/tokenizer/model_tables.h"

namespace lockstep::data {

// The tables of a tokenizer.json; their settings() is its JSON without model.vocab and
// model.merges. `file` names it in errors. Errors: broken JSON (names line and byte), no BPE model,
// bad ids or merges.
absl::StatusOr<std::unique_ptr<const ModelTables>> ReadTokenizerFile(absl::string_view json,
                                                                     absl::string_view file,
                                                                     absl::string_view fingerprint);

}  // namespace lockstep::data
