// The token cache file: every token of a data set, written once, mapped by every rank of every run.
//
//   tokens      CachedToken[num_tokens], and a filler if their number is odd
//   documents   DocumentInfo[num_documents]
//   notes       JSON: DatasetNotes
//   trailer     magic, version, counts, the key (what decided the content), checksums
//
// A cache is believed only if its trailer, size, key and the checksum over everything before the
// trailer are right; one that is torn or foreign is built anew.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/file.h"
#include "base/hash.h"
#include "data/dataset.h"
#include "data/encode.h"

namespace lockstep::data {

class TokenCache {
 public:
  // The data set in the file at `path`; not found or not whole: a NotFound status. The same content
  // may have had other names when the cache was built: `files` are those of today (empty: as then).
  static absl::StatusOr<std::shared_ptr<const Dataset>> Open(
      absl::string_view path, absl::string_view key, const std::vector<std::string>& files = {});

  // Writes a cache part by part, with memory that does not grow with it, as AtomicFile does: it
  // appears under its name, whole, with Finish(). For who holds its lock: what killed processes
  // have left of it is removed first.
  static absl::StatusOr<std::unique_ptr<TokenCache>> Create(const std::string& path);

  absl::Status Add(const EncodedDocument& document, uint32_t file, int64_t line);
  absl::Status Finish(absl::string_view key, const DatasetNotes& notes);

  int64_t num_documents() const { return num_documents_; }

 private:
  TokenCache(std::unique_ptr<AtomicFile> body, std::unique_ptr<AtomicFile> documents)
      : body_(std::move(body)), documents_(std::move(documents)) {}
  absl::Status WriteBody(absl::string_view bytes);  // hashed

  const std::unique_ptr<AtomicFile> body_;       // the cache itself
  const std::unique_ptr<AtomicFile> documents_;  // DocumentInfo, until all tokens are known
  Hasher hasher_;
  uint64_t num_tokens_ = 0;
  int64_t num_documents_ = 0;
};

}  // namespace lockstep::data
