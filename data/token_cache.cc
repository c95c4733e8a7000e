#include "data/token_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "nlohmann/json.hpp"

namespace lockstep::data {
namespace {

constexpr size_t kHeaderBytes = 4096;
constexpr size_t kBufferBytes = 4 << 20;

struct Header {
  char magic[8];
  uint64_t version;
  uint64_t num_tokens, num_documents, num_note_bytes;
  char key[32], body_hash[32];  // hexadecimal
  uint64_t header_hash;         // Hash64 of what stands above
};
constexpr char kMagic[8] = {'L', 'S', 'T', 'O', 'K', 'E', 'N', 'S'};
constexpr uint64_t kVersion = 1;

uint64_t HeaderHash(const Header& header) {
  return Hash64({reinterpret_cast<const char*>(&header), offsetof(Header, header_hash)});
}

template <typename T>
absl::string_view Bytes(const T* data, size_t count) {
  return {reinterpret_cast<const char*>(data), count * sizeof(T)};
}

absl::Status NotWhole(absl::string_view path) {
  return absl::NotFoundError(absl::StrCat("[", path, "] not a whole token cache"));
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Dataset>> TokenCache::Open(absl::string_view path,
                                                                absl::string_view key) {
  const auto file = MappedFile::Open(path);
  if (!file.ok() || (*file)->size() < kHeaderBytes) return NotWhole(path);
  Header header;
  std::memcpy(&header, (*file)->data(), sizeof(header));
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0 || header.version != kVersion ||
      header.header_hash != HeaderHash(header) || absl::string_view(header.key, 32) != key) {
    return NotWhole(path);
  }
  const absl::string_view body = (*file)->view().substr(kHeaderBytes);
  const size_t tokens_bytes = header.num_tokens * sizeof(CachedToken);
  const size_t documents_bytes = header.num_documents * sizeof(DocumentInfo);
  if (body.size() != tokens_bytes + documents_bytes + header.num_note_bytes ||
      HashHex(body) != absl::string_view(header.body_hash, 32)) {
    return NotWhole(path);
  }
  auto dataset = std::make_shared<Dataset>();
  dataset->file_ = *file;
  dataset->tokens_ = reinterpret_cast<const CachedToken*>(body.data());
  dataset->num_tokens_ = static_cast<int64_t>(header.num_tokens);
  // DocumentInfo wants 8-byte alignment; an odd number of tokens is followed by a filler token.
  dataset->documents_ = {reinterpret_cast<const DocumentInfo*>(body.data() + tokens_bytes),
                         header.num_documents};
  const auto notes = nlohmann::json::parse(body.substr(tokens_bytes + documents_bytes).begin(),
                                           body.end(), nullptr, /*allow_exceptions=*/false);
  if (notes.is_discarded()) return NotWhole(path);
  dataset->files_ = notes.at("files").get<std::vector<std::string>>();
  dataset->remarks_ = notes.at("remarks").get<std::vector<std::string>>();
  dataset->num_skipped_ = notes.at("skipped").get<int64_t>();
  dataset->key_ = std::string(key);
  return dataset;
}

absl::StatusOr<std::unique_ptr<TokenCache>> TokenCache::Create(absl::string_view path) {
  std::string temporary = absl::StrCat(path, ".tmp-XXXXXX");
  const int fd = mkostemp(temporary.data(), O_CLOEXEC);
  if (fd < 0) return SystemError(path, "cannot create the token cache", errno, "see --cache_dir");
  std::unique_ptr<TokenCache> cache(new TokenCache(std::string(path), std::move(temporary), fd));
  if (lseek(fd, kHeaderBytes, SEEK_SET) < 0) return SystemError(path, "cannot seek", errno);
  return cache;
}

TokenCache::~TokenCache() {
  close(fd_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

absl::Status TokenCache::Add(const EncodedDocument& document, uint32_t file, int64_t line) {
  DocumentInfo info = {};
  info.first_token = num_tokens_;
  info.line = line;
  info.file = file;
  info.notes = document.notes;
  info.num_tokens = static_cast<uint32_t>(document.input_ids.size());
  std::vector<CachedToken> tokens(document.input_ids.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    tokens[i].bits = static_cast<uint32_t>(document.input_ids[i]) |
                     (static_cast<uint32_t>(document.supervised[i] != 0) << 31);
    info.num_supervised += document.supervised[i] != 0;
  }
  info.content_hash = Hash64(Bytes(tokens.data(), tokens.size()));
  num_tokens_ += tokens.size();
  documents_.push_back(info);
  return Write(Bytes(tokens.data(), tokens.size()));
}

absl::Status TokenCache::Finish(absl::string_view key, const std::vector<std::string>& files,
                                const std::vector<std::string>& remarks, int64_t num_skipped) {
  if (num_tokens_ % 2 != 0) {
    const CachedToken filler = {0};
    ++num_tokens_;
    RETURN_IF_ERROR(Write(Bytes(&filler, 1)));
  }
  const nlohmann::json notes = {{"files", files}, {"remarks", remarks}, {"skipped", num_skipped}};
  const std::string text = notes.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  RETURN_IF_ERROR(Write(Bytes(documents_.data(), documents_.size())));
  RETURN_IF_ERROR(Write(text));
  RETURN_IF_ERROR(Flush());

  Header header = {};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.version = kVersion;
  header.num_tokens = num_tokens_;
  header.num_documents = documents_.size();
  header.num_note_bytes = text.size();
  std::memcpy(header.key, key.data(), sizeof(header.key));
  std::memcpy(header.body_hash, hasher_.Hex().data(), sizeof(header.body_hash));
  header.header_hash = HeaderHash(header);
  if (pwrite(fd_, &header, sizeof(header), 0) != sizeof(header)) {
    return SystemError(path_, "cannot write", errno);
  }
  if (fsync(fd_) != 0) return SystemError(path_, "cannot fsync", errno);
  if (rename(temporary_.c_str(), path_.c_str()) != 0) {
    return SystemError(path_, "cannot rename", errno);
  }
  temporary_.clear();
  return absl::OkStatus();
}

absl::Status TokenCache::Write(absl::string_view bytes) {
  hasher_.Update(bytes);
  absl::StrAppend(&buffer_, bytes);
  return buffer_.size() < kBufferBytes ? absl::OkStatus() : Flush();
}

absl::Status TokenCache::Flush() {
  for (size_t at = 0; at < buffer_.size();) {
    const ssize_t written = write(fd_, buffer_.data() + at, buffer_.size() - at);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0)
      return SystemError(path_, "cannot write the token cache", errno, "see --cache_dir");
    at += written;
  }
  buffer_.clear();
  return absl::OkStatus();
}

}  // namespace lockstep::data
