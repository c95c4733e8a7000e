// The token cache file: every token of a data set, written once, mapped by every rank of every run.
//
//   [0, 4096)   header: magic, version, counts, the key (what decided the content), checksums
//   tokens      CachedToken[num_tokens], and a filler if their number is odd
//   documents   DocumentInfo[num_documents]
//   notes       JSON: DatasetNotes
//
// A cache is believed only if its header, size, key and the checksum over everything behind the
// header are right; one that is torn or foreign is built anew.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
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

  // Writes a cache part by part, with memory that does not grow with it, under a temporary name;
  // the file appears under its own name, whole, with Finish(). Dropped before that, it leaves
  // nothing.
  static absl::StatusOr<std::unique_ptr<TokenCache>> Create(absl::string_view path);
  ~TokenCache();

  // Removes what killed processes have left of this cache. For who holds its lock.
  static void RemoveRemains(absl::string_view path);

  absl::Status Add(const EncodedDocument& document, uint32_t file, int64_t line);
  absl::Status Finish(absl::string_view key, const DatasetNotes& notes);

  int64_t num_documents() const { return num_documents_; }

 private:
  // A file that bytes are appended to through a buffer.
  struct Output {
    int fd;
    std::string buffer = {};
  };

  TokenCache(std::string path, std::string temporary, int tokens_fd, int documents_fd)
      : path_(std::move(path)),
        temporary_(std::move(temporary)),
        body_{tokens_fd},
        documents_{documents_fd} {}
  absl::Status Append(Output& output, absl::string_view bytes);
  absl::Status Flush(Output& output);
  absl::Status WriteBody(absl::string_view bytes);  // hashed
  absl::Status WriteDocuments();                    // behind the tokens

  std::string path_, temporary_;
  Output body_;       // the cache itself
  Output documents_;  // DocumentInfo, until all tokens are known; a file without a name
  Hasher hasher_;
  uint64_t num_tokens_ = 0;
  int64_t num_documents_ = 0;
};

}  // namespace lockstep::data
