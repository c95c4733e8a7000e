// Tables of large tokenizers, kept as files: reading JSON of 33 MB takes longer than mapping them.
//
// A file is named by the content of its tokenizer.json, written under a temporary name and renamed,
// and checked whole before use; one that is torn or foreign is built anew.
#pragma once

#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "data/tokenizer/model_tables.h"

namespace lockstep::data {

// Null if there is none, or none that can be believed.
std::unique_ptr<const ModelTables> ReadCachedTables(const std::string& cache_dir,
                                                    absl::string_view fingerprint);
// Does its best: a folder that cannot be written to is no error, since the file is only a cache.
void CacheTables(const std::string& cache_dir, const ModelTables& tables);

}  // namespace lockstep::data
