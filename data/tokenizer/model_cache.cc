#include "data/tokenizer/model_cache.h"

#include <glog/logging.h>

#include "absl/strings/str_cat.h"
#include "base/file.h"

namespace lockstep::data {
namespace {

std::string CachePath(const std::string& cache_dir, absl::string_view fingerprint) {
  return JoinPath(cache_dir, absl::StrCat("tokenizer-", fingerprint, ".tables"));
}

}  // namespace

std::unique_ptr<const ModelTables> ReadCachedTables(const std::string& cache_dir,
                                                    absl::string_view fingerprint) {
  const std::string path = CachePath(cache_dir, fingerprint);
  if (!FileExists(path)) return nullptr;
  absl::StatusOr<std::shared_ptr<const MappedFile>> file = MappedFile::Open(path);
  if (!file.ok()) return nullptr;
  std::unique_ptr<const ModelTables> tables = ModelTables::FromFile(*std::move(file), fingerprint);
  if (tables == nullptr) LOG(WARNING) << path << " is damaged or of another version; built anew";
  return tables;
}

void CacheTables(const std::string& cache_dir, const ModelTables& tables) {
  absl::Status status = MakeDirectories(cache_dir);
  if (status.ok()) {
    status = WriteFileAtomically(CachePath(cache_dir, tables.fingerprint()), tables.block());
  }
  if (!status.ok()) LOG(WARNING) << "the tokenizer is not cached: " << status.message();
}

}  // namespace lockstep::data
