#include "data/token_cache.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "nlohmann/json.hpp"

namespace lockstep::data {
namespace {

struct Trailer {
  char magic[8];
  uint64_t version;
  uint64_t num_tokens, num_documents, num_note_bytes;
  char key[32], body_hash[32];  // hexadecimal
  uint64_t trailer_hash;        // Hash64 of what stands above
};
constexpr char kMagic[8] = {'L', 'S', 'T', 'O', 'K', 'E', 'N', 'S'};
constexpr uint64_t kVersion = 6;

uint64_t TrailerHash(const Trailer& trailer) {
  return Hash64({reinterpret_cast<const char*>(&trailer), offsetof(Trailer, trailer_hash)});
}

template <typename T>
absl::string_view Bytes(const T* data, size_t count) {
  return {reinterpret_cast<const char*>(data), count * sizeof(T)};
}

absl::Status InCacheDir(const absl::Status& status) { return Annotate(status, "--cache_dir"); }

// HashHex of the bytes before the trailer; of what is read nothing stays in memory.
std::string BodyHash(const MappedFile& file) {
  constexpr size_t kPart = size_t{16} << 20;
  const size_t end = file.size() - sizeof(Trailer);
  Hasher hasher;
  for (size_t at = 0; at < end; at += kPart) {
    const size_t size = std::min(kPart, end - at);
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
  if (!file.ok() || (*file)->size() < sizeof(Trailer)) return NotWhole(path);
  const absl::string_view body = (*file)->view().substr(0, (*file)->size() - sizeof(Trailer));
  Trailer trailer;
  std::memcpy(&trailer, body.end(), sizeof(trailer));
  if (std::memcmp(trailer.magic, kMagic, sizeof(kMagic)) != 0 || trailer.version != kVersion ||
      trailer.trailer_hash != TrailerHash(trailer) || absl::string_view(trailer.key, 32) != key) {
    return NotWhole(path);
  }
  // DocumentInfo wants 8-byte alignment: an odd number of tokens is followed by a filler.
  const size_t tokens_bytes = (trailer.num_tokens + trailer.num_tokens % 2) * sizeof(CachedToken);
  const size_t documents_bytes = trailer.num_documents * sizeof(DocumentInfo);
  if (body.size() != tokens_bytes + documents_bytes + trailer.num_note_bytes ||
      BodyHash(**file) != absl::string_view(trailer.body_hash, 32)) {
    return NotWhole(path);
  }
  auto dataset = std::make_shared<Dataset>();
  dataset->file_ = *file;
  dataset->tokens_ = reinterpret_cast<const CachedToken*>(body.data());
  dataset->num_tokens_ = static_cast<int64_t>(trailer.num_tokens);
  dataset->documents_ = {reinterpret_cast<const DocumentInfo*>(body.data() + tokens_bytes),
                         trailer.num_documents};
  const auto notes = nlohmann::json::parse(body.substr(tokens_bytes + documents_bytes).begin(),
                                           body.end(), nullptr, /*allow_exceptions=*/false);
  if (notes.is_discarded()) return NotWhole(path);
  const auto strings = [&](const char* name) {
    return notes.at(name).get<std::vector<std::string>>();
  };
  dataset->notes_ = {
      files.empty() ? strings("files") : files, strings("formats"),      {},
      notes.at("num_skipped").get<int64_t>(),   strings("ignored_keys"), strings("keys")};
  for (const nlohmann::json& skipped : notes.at("skipped")) {
    dataset->notes_.skipped.push_back({skipped.at(0).get<uint32_t>(), skipped.at(1).get<int64_t>(),
                                       skipped.at(2).get<std::string>()});
  }
  dataset->key_ = std::string(key);
  return dataset;
}

absl::StatusOr<std::unique_ptr<TokenCache>> TokenCache::Create(const std::string& path) {
  AtomicFile::RemoveRemains(path);
  auto body = AtomicFile::Create(path), documents = AtomicFile::Create(path);
  RETURN_IF_ERROR(InCacheDir(body.status()));
  RETURN_IF_ERROR(InCacheDir(documents.status()));
  return std::unique_ptr<TokenCache>(new TokenCache(*std::move(body), *std::move(documents)));
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
  RETURN_IF_ERROR(InCacheDir(documents_->Append(Bytes(&info, 1))));
  return WriteBody(Bytes(tokens.data(), tokens.size()));
}

absl::Status TokenCache::Finish(absl::string_view key, const DatasetNotes& notes) {
  if (num_tokens_ % 2 != 0) {
    const CachedToken filler = {0};
    RETURN_IF_ERROR(WriteBody(Bytes(&filler, 1)));
  }
  nlohmann::json json = {{"files", notes.files},
                         {"formats", notes.formats},
                         {"skipped", nlohmann::json::array()},
                         {"num_skipped", notes.num_skipped},
                         {"ignored_keys", notes.ignored_keys},
                         {"keys", notes.keys}};
  for (const SkippedDocument& skipped : notes.skipped) {
    json["skipped"].push_back({skipped.file, skipped.line, skipped.problem});
  }
  const std::string text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  RETURN_IF_ERROR(
      documents_->ReadBack([this](absl::string_view piece) { return WriteBody(piece); }));
  RETURN_IF_ERROR(WriteBody(text));

  Trailer trailer = {};
  std::memcpy(trailer.magic, kMagic, sizeof(kMagic));
  trailer.version = kVersion;
  trailer.num_tokens = num_tokens_;
  trailer.num_documents = static_cast<uint64_t>(num_documents_);
  trailer.num_note_bytes = text.size();
  std::memcpy(trailer.key, key.data(), sizeof(trailer.key));
  std::memcpy(trailer.body_hash, hasher_.Hex().data(), sizeof(trailer.body_hash));
  trailer.trailer_hash = TrailerHash(trailer);
  RETURN_IF_ERROR(InCacheDir(body_->Append(Bytes(&trailer, 1))));
  return InCacheDir(body_->Commit());
}

absl::Status TokenCache::WriteBody(absl::string_view bytes) {
  hasher_.Update(bytes);
  return InCacheDir(body_->Append(bytes));
}

}  // namespace lockstep::data
