// Dataset: the tokens of all documents, mapped from the token cache.
//
//   ASSIGN_OR_RETURN(const auto dataset, OpenOrBuildDataset(spec, encoder, progress));
//
// A data set is what its files, tokenizer, template and data options make it, nothing else: its
// hash is compared between ranks and kept in checkpoints. Length limits and the validation split
// are applied when a run starts (data/selection.h), so they share one cache.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/file.h"
#include "data/encode.h"
#include "data/examples.h"

namespace lockstep::data {

// A token as the cache holds it: id in the lower 31 bits, supervised or not in the highest.
struct CachedToken {
  uint32_t bits;
  int32_t id() const { return static_cast<int32_t>(bits & 0x7FFFFFFFu); }
  bool supervised() const { return (bits >> 31) != 0; }
};

struct DocumentInfo {
  uint64_t first_token;   // into the file's tokens
  uint64_t content_hash;  // of ids and supervision: equal for duplicates
  int64_t line;           // in its file, from 1
  uint32_t file;          // index into Dataset::files()
  uint32_t notes;         // bits of Note (data/encode.h)
  uint32_t num_tokens;
  uint32_t num_supervised;  // but for the first token, which nothing predicts
};

// A bad document that was left out (skip_bad_documents).
struct SkippedDocument {
  uint32_t file;        // index into Dataset::files()
  int64_t line;         // in it, from 1
  std::string problem;  // its error from behind the file's name on: ":17 messages[0]] want a role"
};

// What a data set is besides its tokens; lies behind them in the cache.
struct DatasetNotes {
  std::vector<std::string> files;        // as the user named them
  std::vector<std::string> formats;      // of each file: "messages", …, as --format has them
  std::vector<SkippedDocument> skipped;  // the first 100 of them
  int64_t num_skipped = 0;
  std::vector<std::string> ignored_keys;  // that no format has
  std::vector<std::string> keys;          // where there are columns: all, as the files name them
};

class Dataset {
 public:
  int64_t num_documents() const { return static_cast<int64_t>(documents_.size()); }
  const DocumentInfo& document(int64_t i) const { return documents_[i]; }
  absl::Span<const CachedToken> tokens(int64_t i) const {
    return {tokens_ + documents_[i].first_token, documents_[i].num_tokens};
  }
  int64_t num_tokens() const { return num_tokens_; }

  // Calls `look` with every one of `documents` (all if null), in their order, and keeps no more
  // than some megabytes of their tokens in memory.
  void ForEach(const std::vector<int64_t>* documents,
               absl::FunctionRef<void(int64_t document)> look) const;

  const std::vector<std::string>& files() const { return notes_.files; }
  const std::vector<std::string>& formats() const { return notes_.formats; }
  // "data.jsonl:17" of document i.
  std::string Position(int64_t i) const;
  const std::vector<std::string>& keys() const { return notes_.keys; }
  const std::vector<SkippedDocument>& skipped() const { return notes_.skipped; }
  int64_t num_skipped() const { return notes_.num_skipped; }
  // "[data.jsonl:17 messages[0]] want a role".
  std::string ErrorOf(const SkippedDocument& skipped) const;
  // What building it noticed, for people: skipped documents, ignored keys.
  std::vector<std::string> Remarks() const;
  // 32 hexadecimal digits over ids and supervision of all documents, wherever they come from.
  std::string ContentHash() const;
  // Names the cache: 32 hexadecimal digits over everything that decided the content.
  const std::string& key() const { return key_; }

 private:
  friend class TokenCache;
  std::shared_ptr<const MappedFile> file_;
  absl::Span<const DocumentInfo> documents_;
  const CachedToken* tokens_ = nullptr;
  int64_t num_tokens_ = 0;
  DatasetNotes notes_;
  std::string key_;
};

struct DatasetSpec {
  std::vector<std::string> files;  // standard input: see SpoolStream
  ExampleOptions example_options;
  bool skip_bad_documents = false;
  std::string cache_dir;
  // DocumentEncoder::Fingerprint() and the tokenizer's content hash.
  std::string encoder_fingerprint;
  double lock_timeout_s = 3600;  // how long to wait for another process that builds the same cache
};

// Called now and then while a cache is built or waited for: bytes of input done and in all.
using ProgressFn = std::function<void(absl::string_view what, int64_t done, int64_t total)>;

// Maps the cache of `spec` if there is a whole one, else builds it with all threads of the pool:
// streamed, so memory does not grow with the data; written to a temporary name, fsynced, renamed.
// Processes that want the same cache at once wait for the first by a lock file. `encoder` is used
// only for building. Errors: the first bad document by file and line (unless skip_bad_documents), a
// file that is missing, empty or changes while it is read, a full disk.
absl::StatusOr<std::shared_ptr<const Dataset>> OpenOrBuildDataset(const DatasetSpec& spec,
                                                                  const DocumentEncoder& encoder,
                                                                  const ProgressFn& progress);

}  // namespace lockstep::data
