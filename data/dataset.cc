#include "data/dataset.h"

#include <iterator>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/file_lock.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "data/document_source.h"
#include "data/token_cache.h"

namespace lockstep::data {
namespace {

constexpr size_t kBatchBytes = 4 << 20;
constexpr size_t kMaxSkipped = 100;  // that are named

// Part of the key: changes when the same input would give other tokens. (The file's layout has a
// number of its own.)
constexpr absl::string_view kCacheVersion = "12";

// Waits while another process builds the cache of this lock.
absl::Status TakeLock(const std::string& path, double timeout_s, const ProgressFn& progress,
                      FileLock& lock) {
  const absl::StatusOr<bool> taken = lock.TakeFile(path, timeout_s, [&](double waited) {
    if (!progress) return;
    progress("waiting for another process that tokenizes the same data",
             static_cast<int64_t>(waited), static_cast<int64_t>(timeout_s));
  });
  if (!taken.ok()) return Annotate(taken.status(), "--cache_dir");
  if (*taken) return absl::OkStatus();
  return UserError(path,
                   absl::StrCat("another process has been building this token cache for ",
                                static_cast<int64_t>(timeout_s), " s"),
                   "look at what it does, or choose another --cache_dir");
}

std::string CacheKey(const DatasetSpec& spec, const std::vector<std::string>& file_hashes) {
  const ExampleOptions& options = spec.example_options;
  std::string text = absl::StrCat(kCacheVersion, "\n", absl::StrJoin(file_hashes, ","), "\n",
                                  spec.encoder_fingerprint, "\n", spec.skip_bad_documents, "\n",
                                  options.system_prompt, "\n",
                                  options.format ? FormatName(*options.format) : "", "\n");
  for (const auto& [ours, theirs] : options.columns)
    absl::StrAppend(&text, ours, ":", theirs, "\n");
  return HashHex(text);
}

// An error about one document: not longer than a paragraph, whatever the document holds.
absl::Status BadDocument(const absl::Status& error) {
  constexpr size_t kMost = 800;
  absl::string_view text = error.message();
  std::string message(text);
  if (text.size() > kMost) {
    const auto boundary = [&](size_t at) {  // of a UTF-8 character
      while (at < text.size() && (text[at] & 0xC0) == 0x80) ++at;
      return at;
    };
    const size_t end = boundary(kMost / 2), begin = boundary(text.size() - kMost / 2);
    message = absl::StrCat(text.substr(0, end), " … ", text.substr(begin));
  }
  return WithHint(absl::Status(error.code(), message),
                  "mend this document; --skip_bad_documents leaves out all that are broken");
}

// Builds one data set's cache file.
class Builder {
 public:
  Builder(const DatasetSpec& spec, const DocumentEncoder& encoder, const ProgressFn& progress,
          TokenCache& cache)
      : spec_(spec), encoder_(encoder), progress_(progress), cache_(cache) {}

  absl::Status AddFile(uint32_t index, const std::string& expected_hash) {
    const std::string& path = spec_.files[index];
    ASSIGN_OR_RETURN(const auto source, DocumentSource::Open(path));
    std::optional<Format> format = spec_.example_options.format;
    while (true) {
      ASSIGN_OR_RETURN(const std::vector<RawDocument> batch, source->NextBatch(kBatchBytes));
      if (batch.empty()) break;
      if (!format && !source->is_text()) format = Recognize(path, batch);
      RETURN_IF_ERROR(AddBatch(index, *source, format, batch));
      if (progress_) {
        progress_(absl::StrCat("tokenizing ", path), source->stream().bytes_read(),
                  source->stream().bytes_total());
      }
    }
    if (source->is_text()) format = Format::kText;
    formats_.emplace_back(format ? FormatName(*format) : "unknown");
    if (source->stream().ContentHash() != expected_hash) {
      return UserError(path, "the file changed while it was read",
                       "start again when nothing writes to it");
    }
    return absl::OkStatus();
  }

  DatasetNotes Notes() const {
    return {spec_.files,
            formats_,
            skipped_,
            num_skipped_,
            std::vector<std::string>(ignored_keys_.begin(), ignored_keys_.end()),
            std::vector<std::string>(keys_.begin(), keys_.end())};
  }

  // Why no document is left: the first bad one's error, or there was nothing.
  absl::Status NothingLeft() const {
    constexpr char kWanted[] = "want at least one document, got none";
    const std::string where = absl::StrJoin(spec_.files, ",");
    if (num_skipped_ == 0) {
      return UserError(where, kWanted,
                       "of JSONL each line is a JSON object, other JSON is one array of them; "
                       "paragraphs of a .txt file are its documents");
    }
    return UserError(where, absl::StrCat(kWanted, "; bad ones that were skipped: ", num_skipped_,
                                         ", the first: ", first_skipped_.message()));
  }

 private:
  struct Parsed {
    absl::Status status;
    std::vector<EncodedDocument> documents;
    std::vector<std::string> ignored_keys, keys;
  };

  // The format of the first document that has one.
  std::optional<Format> Recognize(const std::string& path,
                                  const std::vector<RawDocument>& batch) const {
    for (const RawDocument& raw : batch) {
      const absl::StatusOr<Format> format =
          RecognizeFormat(raw.text, {path, raw.line}, spec_.example_options);
      if (format.ok()) return *format;
    }
    return std::nullopt;
  }

  absl::StatusOr<Example> Parse(const DocumentSource& source, const SourcePosition& position,
                                std::optional<Format> format, const RawDocument& raw) const {
    if (source.is_text()) return TextDocument(raw.text, position);
    if (format) return ParseExample(raw.text, *format, position, spec_.example_options);
    return RecognizeFormat(raw.text, position, spec_.example_options).status();
  }

  Parsed Encode(const DocumentSource& source, const std::string& path, std::optional<Format> format,
                const RawDocument& raw) const {
    const SourcePosition position = {path, raw.line};
    Parsed parsed;
    absl::StatusOr<Example> example = Parse(source, position, format, raw);
    if (!example.ok()) {
      parsed.status = BadDocument(example.status());
      return parsed;
    }
    parsed.ignored_keys = std::move(example->ignored_keys);
    parsed.keys = std::move(example->keys);
    absl::StatusOr<std::vector<EncodedDocument>> documents = encoder_.Encode(*example);
    if (documents.ok()) {
      parsed.documents = *std::move(documents);
    } else {
      parsed.status = BadDocument(documents.status());
    }
    return parsed;
  }

  SkippedDocument Skipped(uint32_t file, int64_t line, const absl::Status& error) const {
    absl::string_view text = error.message();
    text = text.substr(0, text.find("\nHINT: "));
    const bool has_place = absl::ConsumePrefix(&text, absl::StrCat("[", spec_.files[file]));
    return {file, line, has_place ? std::string(text) : absl::StrCat(":", line, "] ", text)};
  }

  absl::Status AddBatch(uint32_t index, const DocumentSource& source, std::optional<Format> format,
                        const std::vector<RawDocument>& batch) {
    std::vector<Parsed> parsed(batch.size());
    ParallelFor(static_cast<int64_t>(batch.size()), [&](int64_t i) {
      parsed[i] = Encode(source, spec_.files[index], format, batch[i]);
    });
    for (size_t i = 0; i < batch.size(); ++i) {
      keys_.insert(parsed[i].keys.begin(), parsed[i].keys.end());
      if (!parsed[i].status.ok()) {
        if (!spec_.skip_bad_documents) return parsed[i].status;
        if (num_skipped_++ == 0) first_skipped_ = parsed[i].status;
        if (skipped_.size() < kMaxSkipped) {
          skipped_.push_back(Skipped(index, batch[i].line, parsed[i].status));
        }
        continue;
      }
      ignored_keys_.insert(parsed[i].ignored_keys.begin(), parsed[i].ignored_keys.end());
      for (const EncodedDocument& document : parsed[i].documents) {
        RETURN_IF_ERROR(cache_.Add(document, index, batch[i].line));
      }
    }
    return absl::OkStatus();
  }

  const DatasetSpec& spec_;
  const DocumentEncoder& encoder_;
  const ProgressFn& progress_;
  TokenCache& cache_;
  std::set<std::string> ignored_keys_, keys_;
  std::vector<std::string> formats_;
  std::vector<SkippedDocument> skipped_;
  int64_t num_skipped_ = 0;
  absl::Status first_skipped_;
};

absl::Status Build(const DatasetSpec& spec, const DocumentEncoder& encoder,
                   const ProgressFn& progress, const std::string& path, const std::string& key,
                   const std::vector<std::string>& file_hashes) {
  ASSIGN_OR_RETURN(const auto cache, TokenCache::Create(path));
  Builder builder(spec, encoder, progress, *cache);
  for (uint32_t i = 0; i < spec.files.size(); ++i) {
    RETURN_IF_ERROR(builder.AddFile(i, file_hashes[i]));
  }
  if (cache->num_documents() == 0) return builder.NothingLeft();
  return cache->Finish(key, builder.Notes());
}

}  // namespace

std::string Dataset::Position(int64_t i) const {
  return absl::StrCat(files()[documents_[i].file], ":", documents_[i].line);
}

std::string Dataset::ContentHash() const {
  Hasher hasher;
  for (const DocumentInfo& document : documents_) {
    hasher.Update({reinterpret_cast<const char*>(&document.content_hash), sizeof(uint64_t)});
  }
  return hasher.Hex();
}

std::string Dataset::ErrorOf(const SkippedDocument& skipped) const {
  return absl::StrCat("[", files()[skipped.file], skipped.problem);
}

std::vector<std::string> Dataset::Remarks() const {
  std::vector<std::string> remarks;
  for (const SkippedDocument& skipped : notes_.skipped) {
    remarks.push_back(absl::StrCat("skipped: ", ErrorOf(skipped)));
  }
  if (const int64_t more = num_skipped() - std::ssize(notes_.skipped); more > 0) {
    remarks.push_back(absl::StrCat("skipped: ", more, " more"));
  }
  if (!notes_.ignored_keys.empty()) {
    remarks.push_back(absl::StrCat("keys that no format has, ignored: ",
                                   absl::StrJoin(notes_.ignored_keys, ", ")));
  }
  return remarks;
}

void Dataset::ForEach(const std::vector<int64_t>* documents,
                      absl::FunctionRef<void(int64_t document)> look) const {
  constexpr uint64_t kTokens = 4 << 20;
  const int64_t count = documents != nullptr ? documents->size() : num_documents();
  uint64_t kept = 0;  // tokens before this one are not needed any more
  for (int64_t n = 0; n < count; ++n) {
    const int64_t document = documents != nullptr ? (*documents)[n] : n;
    look(document);
    const uint64_t end = documents_[document].first_token + documents_[document].num_tokens;
    if (end < kept + kTokens) continue;
    const uint8_t* const begin = reinterpret_cast<const uint8_t*>(tokens_ + kept);
    file_->Release(begin - file_->data(), (end - kept) * sizeof(CachedToken));
    kept = end;
  }
}

absl::StatusOr<std::shared_ptr<const Dataset>> OpenOrBuildDataset(const DatasetSpec& spec,
                                                                  const DocumentEncoder& encoder,
                                                                  const ProgressFn& progress) {
  std::vector<std::string> file_hashes;
  for (const std::string& file : spec.files) {
    ASSIGN_OR_RETURN(file_hashes.emplace_back(), HashFile(file));
  }
  const std::string key = CacheKey(spec, file_hashes);
  RETURN_IF_ERROR(Annotate(MakeDirectories(spec.cache_dir), "--cache_dir"));
  const std::string path = JoinPath(spec.cache_dir, absl::StrCat(key, ".tokens"));
  if (auto dataset = TokenCache::Open(path, key, spec.files); dataset.ok()) return dataset;
  FileLock lock;
  RETURN_IF_ERROR(TakeLock(absl::StrCat(path, ".lock"), spec.lock_timeout_s, progress, lock));
  if (auto dataset = TokenCache::Open(path, key, spec.files); dataset.ok()) return dataset;
  RETURN_IF_ERROR(Build(spec, encoder, progress, path, key, file_hashes));
  return TokenCache::Open(path, key, spec.files);
}

}  // namespace lockstep::data
