#include "data/token_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/file.h"
#include "base/status.h"
#include "nlohmann/json.hpp"

namespace lockstep::data {
namespace {

constexpr size_t kHeaderBytes = 4096;
constexpr char kPassing[] = ".tmp-";  // in the name until the cache is whole
constexpr size_t kBufferBytes = 4 << 20;

struct Header {
  char magic[8];
  uint64_t version;
  uint64_t num_tokens, num_documents, num_note_bytes;
  char key[32], body_hash[32];  // hexadecimal
  uint64_t header_hash;         // Hash64 of what stands above
};
constexpr char kMagic[8] = {'L', 'S', 'T', 'O', 'K', 'E', 'N', 'S'};
constexpr uint64_t kVersion = 3;

uint64_t HeaderHash(const Header& header) {
  return Hash64({reinterpret_cast<const char*>(&header), offsetof(Header, header_hash)});
}

template <typename T>
absl::string_view Bytes(const T* data, size_t count) {
  return {reinterpret_cast<const char*>(data), count * sizeof(T)};
}

absl::Status CannotWrite(absl::string_view path) {
  return SystemError(path, "cannot write the token cache", errno, "see --cache_dir");
}

// HashHex of the bytes behind the header; of what is read nothing stays in memory.
std::string BodyHash(const MappedFile& file) {
  constexpr size_t kPart = size_t{16} << 20;
  Hasher hasher;
  for (size_t at = kHeaderBytes; at < file.size(); at += kPart) {
    const size_t size = std::min(kPart, file.size() - at);
    hasher.Update(file.view().substr(at, size));
    file.Release(at, size);
  }
  return hasher.Hex();
}

absl::Status NotWhole(absl::string_view path) {
  return absl::NotFoundError(absl::StrCat("[", path, "] not a whole token cache"));
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Dataset>> TokenCache::Open(
    absl::string_view path, absl::string_view key, const std::vector<std::string>& files) {
  const auto file = MappedFile::Open(path);
  if (!file.ok() || (*file)->size() < kHeaderBytes) return NotWhole(path);
  Header header;
  std::memcpy(&header, (*file)->data(), sizeof(header));
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0 || header.version != kVersion ||
      header.header_hash != HeaderHash(header) || absl::string_view(header.key, 32) != key) {
    return NotWhole(path);
  }
  const absl::string_view body = (*file)->view().substr(kHeaderBytes);
  // DocumentInfo wants 8-byte alignment: an odd number of tokens is followed by a filler.
  const size_t tokens_bytes = (header.num_tokens + header.num_tokens % 2) * sizeof(CachedToken);
  const size_t documents_bytes = header.num_documents * sizeof(DocumentInfo);
  if (body.size() != tokens_bytes + documents_bytes + header.num_note_bytes ||
      BodyHash(**file) != absl::string_view(header.body_hash, 32)) {
    return NotWhole(path);
  }
  auto dataset = std::make_shared<Dataset>();
  dataset->file_ = *file;
  dataset->tokens_ = reinterpret_cast<const CachedToken*>(body.data());
  dataset->num_tokens_ = static_cast<int64_t>(header.num_tokens);
  dataset->documents_ = {reinterpret_cast<const DocumentInfo*>(body.data() + tokens_bytes),
                         header.num_documents};
  const auto notes = nlohmann::json::parse(body.substr(tokens_bytes + documents_bytes).begin(),
                                           body.end(), nullptr, /*allow_exceptions=*/false);
  if (notes.is_discarded()) return NotWhole(path);
  const auto strings = [&](const char* name) {
    return notes.at(name).get<std::vector<std::string>>();
  };
  dataset->notes_ = {strings("files"), strings("formats"), strings("remarks"),
                     notes.at("skipped").get<int64_t>()};
  for (size_t i = 0; i < files.size(); ++i) {
    for (std::string& remark : dataset->notes_.remarks) {
      remark = absl::StrReplaceAll(remark, {{dataset->notes_.files[i], files[i]}});
    }
    dataset->notes_.files[i] = files[i];
  }
  dataset->key_ = std::string(key);
  return dataset;
}

void TokenCache::RemoveRemains(absl::string_view path) {
  const std::filesystem::path whole{std::string(path)};
  const std::string start = absl::StrCat(whole.filename().string(), kPassing);
  std::error_code error;  // what cannot be removed stays
  for (const auto& entry : std::filesystem::directory_iterator(whole.parent_path(), error)) {
    if (absl::StartsWith(entry.path().filename().string(), start)) {
      std::filesystem::remove(entry.path(), error);
    }
  }
}

absl::StatusOr<std::unique_ptr<TokenCache>> TokenCache::Create(absl::string_view path) {
  std::string temporary = absl::StrCat(path, kPassing, "XXXXXX");
  std::string nameless = temporary;
  const int tokens = mkostemp(temporary.data(), O_CLOEXEC);
  if (tokens < 0) return CannotWrite(path);
  const int documents = mkostemp(nameless.data(), O_CLOEXEC);
  std::unique_ptr<TokenCache> cache(
      new TokenCache(std::string(path), std::move(temporary), tokens, documents));
  if (documents < 0 || unlink(nameless.c_str()) != 0) return CannotWrite(path);
  if (lseek(tokens, kHeaderBytes, SEEK_SET) < 0) return CannotWrite(path);
  return cache;
}

TokenCache::~TokenCache() {
  close(body_.fd);
  if (documents_.fd >= 0) close(documents_.fd);
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
  ++num_documents_;
  RETURN_IF_ERROR(Append(documents_, Bytes(&info, 1)));
  return WriteBody(Bytes(tokens.data(), tokens.size()));
}

absl::Status TokenCache::Finish(absl::string_view key, const DatasetNotes& notes) {
  if (num_tokens_ % 2 != 0) {
    const CachedToken filler = {0};
    RETURN_IF_ERROR(WriteBody(Bytes(&filler, 1)));
  }
  const nlohmann::json json = {{"files", notes.files},
                               {"formats", notes.formats},
                               {"remarks", notes.remarks},
                               {"skipped", notes.num_skipped}};
  const std::string text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  RETURN_IF_ERROR(WriteDocuments());
  RETURN_IF_ERROR(WriteBody(text));
  RETURN_IF_ERROR(Flush(body_));

  Header header = {};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.version = kVersion;
  header.num_tokens = num_tokens_;
  header.num_documents = static_cast<uint64_t>(num_documents_);
  header.num_note_bytes = text.size();
  std::memcpy(header.key, key.data(), sizeof(header.key));
  std::memcpy(header.body_hash, hasher_.Hex().data(), sizeof(header.body_hash));
  header.header_hash = HeaderHash(header);
  if (pwrite(body_.fd, &header, sizeof(header), 0) != sizeof(header) ||
      PatientFsync(body_.fd) != 0 || rename(temporary_.c_str(), path_.c_str()) != 0) {
    return CannotWrite(path_);
  }
  temporary_.clear();
  return absl::OkStatus();
}

absl::Status TokenCache::WriteBody(absl::string_view bytes) {
  hasher_.Update(bytes);
  return Append(body_, bytes);
}

absl::Status TokenCache::WriteDocuments() {
  RETURN_IF_ERROR(Flush(documents_));
  std::string part(kBufferBytes, '\0');
  for (off_t at = 0;;) {
    const ssize_t got = pread(documents_.fd, part.data(), part.size(), at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return SystemError(path_, "cannot read back", errno, "see --cache_dir");
    if (got == 0) return absl::OkStatus();
    RETURN_IF_ERROR(WriteBody(absl::string_view(part).substr(0, got)));
    at += got;
  }
}

absl::Status TokenCache::Append(Output& output, absl::string_view bytes) {
  absl::StrAppend(&output.buffer, bytes);
  return output.buffer.size() < kBufferBytes ? absl::OkStatus() : Flush(output);
}

absl::Status TokenCache::Flush(Output& output) {
  for (size_t at = 0; at < output.buffer.size();) {
    const ssize_t written = write(output.fd, output.buffer.data() + at, output.buffer.size() - at);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return CannotWrite(path_);
    at += written;
  }
  output.buffer.clear();
  return absl::OkStatus();
}

}  // namespace lockstep::data
