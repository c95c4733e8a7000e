#include "data/tokenizer/tokenizer.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <limits>
#include <mutex>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"
#include "data/tokenizer/added_tokens.h"
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/decoders.h"
#include "data/tokenizer/model_cache.h"
#include "data/tokenizer/model_tables.h"
#include "data/tokenizer/normalizers.h"
#include "data/tokenizer/pieces.h"
#include "data/tokenizer/post_processors.h"
#include "data/tokenizer/pre_tokenizers.h"
#include "data/tokenizer/settings.h"
#include "data/tokenizer/tokenizer_file.h"
#include "data/tokenizer/unicode.h"

namespace lockstep::data {
namespace {

// What one Encode needs; kept for the next.
struct Workspace {
  Pieces pieces;
  BpeWorkspace bpe;
  std::vector<WordToken> tokens;
};

// Workspaces that wait for their next use. A thread gets back the one that it used last, whose
// words lie in the caches of its core: taking turns with other threads' workspaces costs more than
// half the speed.
class WorkspacePool {
 public:
  std::unique_ptr<Workspace> Take() {
    Shard& shard = OwnShard();
    {
      std::lock_guard<std::mutex> lock(shard.mutex);
      if (!shard.idle.empty()) {
        std::unique_ptr<Workspace> workspace = std::move(shard.idle.back());
        shard.idle.pop_back();
        return workspace;
      }
    }
    return std::make_unique<Workspace>();
  }
  void Return(std::unique_ptr<Workspace> workspace) {
    Shard& shard = OwnShard();
    std::lock_guard<std::mutex> lock(shard.mutex);
    shard.idle.push_back(std::move(workspace));
  }

 private:
  struct alignas(64) Shard {
    std::mutex mutex;
    std::vector<std::unique_ptr<Workspace>> idle;
  };
  Shard& OwnShard() {
    static std::atomic<uint32_t> threads{0};
    thread_local const uint32_t number = threads++;
    return shards_[number % shards_.size()];
  }
  std::array<Shard, 64> shards_;
};

// What a longer text needed is given back to the system.
constexpr size_t kMostKept = 16 << 20;

// Files below this are parsed in a few milliseconds.
constexpr size_t kWorthCaching = 1 << 20;

}  // namespace

struct Tokenizer::Impl {
  std::string fingerprint;
  std::unique_ptr<const ModelTables> tables;
  std::unique_ptr<const Normalizer> normalizer;  // null: none
  AddedTokens added;
  PreTokenizers pre_tokenizers;
  std::unique_ptr<const Bpe> bpe;
  std::unique_ptr<const Decoder> decoder;  // null: none
  DocumentLayout layout;
  // A pre-tokenizer asks where in the input its pieces begin, after the text was rewritten.
  bool ids_need_tracking = false;

  mutable WorkspacePool workspaces;

  static absl::StatusOr<std::unique_ptr<Impl>> Make(std::unique_ptr<const ModelTables> tables,
                                                    absl::string_view file);
  absl::Status ReadComponents(const Settings& root);
  absl::Status CutIntoWords(absl::string_view text, bool tracked, Workspace* workspace) const;
  absl::Status Encode(absl::string_view text, bool add_special_tokens, std::vector<int32_t>* ids,
                      std::vector<TokenSpan>* offsets) const;
  absl::Status EncodePieces(Workspace* workspace, std::vector<int32_t>* ids,
                            std::vector<TokenSpan>* offsets) const;
};

absl::StatusOr<std::unique_ptr<Tokenizer::Impl>> Tokenizer::Impl::Make(
    std::unique_ptr<const ModelTables> tables, absl::string_view file) {
  auto impl = std::make_unique<Impl>();
  impl->tables = std::move(tables);
  impl->fingerprint = std::string(impl->tables->fingerprint());
  simdjson::dom::parser parser;
  simdjson::dom::element document;
  const absl::string_view settings = impl->tables->settings();
  if (const auto error = parser.parse(settings.data(), settings.size()).get(document)) {
    return UserError(file, simdjson::error_message(error));
  }
  RETURN_IF_ERROR(impl->ReadComponents(Settings(file, document)));
  return impl;
}

absl::Status Tokenizer::Impl::ReadComponents(const Settings& root) {
  ASSIGN_OR_RETURN(const std::optional<Settings> normalizer_settings, root.Find("normalizer"));
  if (normalizer_settings) {
    ASSIGN_OR_RETURN(normalizer, MakeNormalizer(*normalizer_settings));
  }
  ASSIGN_OR_RETURN(const std::optional<Settings> added_settings, root.Find("added_tokens"));
  ASSIGN_OR_RETURN(added, AddedTokens::Make(added_settings, *tables, normalizer.get()));
  ASSIGN_OR_RETURN(const std::optional<Settings> pre_settings, root.Find("pre_tokenizer"));
  if (pre_settings) {
    ASSIGN_OR_RETURN(pre_tokenizers, MakePreTokenizers(*pre_settings));
  }
  ASSIGN_OR_RETURN(const Settings model, root.Get("model"));
  ASSIGN_OR_RETURN(BpeOptions options, ReadBpeOptions(model));
  options.byte_level = pre_tokenizers.byte_level;
  bpe = std::make_unique<Bpe>(*tables, std::move(options));
  ASSIGN_OR_RETURN(const std::optional<Settings> post_settings, root.Find("post_processor"));
  if (post_settings) {
    ASSIGN_OR_RETURN(layout, MakeDocumentLayout(*post_settings));
  }
  ASSIGN_OR_RETURN(const std::optional<Settings> decoder_settings, root.Find("decoder"));
  if (decoder_settings) {
    ASSIGN_OR_RETURN(decoder, MakeDecoder(*decoder_settings));
  }
  bool rewritten = normalizer != nullptr;
  for (const auto& step : pre_tokenizers.steps) {
    ids_need_tracking |= rewritten && step->needs_input_begin();
    rewritten |= step->rewrites();
  }
  return absl::OkStatus();
}

absl::Status Tokenizer::Impl::CutIntoWords(absl::string_view text, bool tracked,
                                           Workspace* workspace) const {
  Pieces& pieces = workspace->pieces;
  pieces.Reset(text, tracked);
  RETURN_IF_ERROR(added.CutRaw(&pieces));
  const auto keeps = [&](absl::string_view piece) { return normalizer->Keeps(piece); };
  if (normalizer != nullptr && !pieces.All(keeps)) {
    RETURN_IF_ERROR(pieces.Rewrite([&](const Piece& piece, AlignedText* out) {
      return normalizer->Normalize(pieces.View(piece), out);
    }));
  }
  RETURN_IF_ERROR(added.CutNormalized(&pieces));
  return pre_tokenizers.Apply(&pieces);
}

absl::Status Tokenizer::Impl::EncodePieces(Workspace* workspace, std::vector<int32_t>* ids,
                                           std::vector<TokenSpan>* offsets) const {
  std::vector<WordToken>& tokens = workspace->tokens;
  for (const Piece& piece : workspace->pieces.pieces()) {
    const AlignedView view = workspace->pieces.View(piece);
    tokens.clear();
    if (piece.token != Piece::kText) {
      tokens.push_back({piece.token, 0, static_cast<uint32_t>(view.text.size())});
    } else {
      RETURN_IF_ERROR(bpe->Encode(view.text, &workspace->bpe, &tokens));
    }
    for (const WordToken& token : tokens) ids->push_back(token.id);
    if (offsets == nullptr) continue;
    for (const WordToken& token : tokens) offsets->push_back(view.Span(token.begin, token.end));
  }
  return absl::OkStatus();
}

absl::Status Tokenizer::Impl::Encode(absl::string_view text, bool add_special_tokens,
                                     std::vector<int32_t>* ids,
                                     std::vector<TokenSpan>* offsets) const {
  if (text.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()) / 4) {
    return UserError("tokenizer",
                     absl::StrCat("want a text below 512 MiB, got ", text.size(), " bytes"),
                     "cut the document into smaller ones");
  }
  if (const size_t valid = ValidUtf8Length(text); valid != text.size()) {
    return UserError("tokenizer", absl::StrCat("the text is not valid UTF-8 at byte ", valid));
  }
  std::unique_ptr<Workspace> workspace = workspaces.Take();
  const absl::Cleanup give_back = [&] {
    if (text.size() <= kMostKept) workspaces.Return(std::move(workspace));
  };
  RETURN_IF_ERROR(CutIntoWords(text, offsets != nullptr || ids_need_tracking, workspace.get()));
  const std::vector<int32_t>& parts =
      add_special_tokens ? layout.with_special : layout.without_special;
  const int32_t size = static_cast<int32_t>(text.size());
  int32_t edge = 0;  // where special tokens stand
  for (const int32_t part : parts) {
    if (part == DocumentLayout::kText) {
      RETURN_IF_ERROR(EncodePieces(workspace.get(), ids, offsets));
      edge = size;
    } else {
      ids->push_back(part);
      if (offsets != nullptr) offsets->push_back({edge, edge});
    }
  }
  return absl::OkStatus();
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(absl::string_view path,
                                                           const TokenizerOptions& options) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> file, MappedFile::Open(path));
  const bool cached = !options.cache_dir.empty() && file->size() >= kWorthCaching;
  const std::string fingerprint = HashHex(file->view());
  std::unique_ptr<const ModelTables> tables;
  if (cached) tables = ReadCachedTables(options.cache_dir, fingerprint);
  if (tables == nullptr) {
    ASSIGN_OR_RETURN(tables, ReadTokenizerFile(file->view(), path, fingerprint));
    if (cached) CacheTables(options.cache_dir, *tables);
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Impl> impl, Impl::Make(std::move(tables), path));
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(impl)));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Parse(absl::string_view json,
                                                            absl::string_view name) {
  ASSIGN_OR_RETURN(std::unique_ptr<const ModelTables> tables,
                   ReadTokenizerFile(json, name, HashHex(json)));
  ASSIGN_OR_RETURN(std::unique_ptr<Impl> impl, Impl::Make(std::move(tables), name));
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(impl)));
}

absl::StatusOr<Encoding> Tokenizer::Encode(absl::string_view text, bool add_special_tokens) const {
  Encoding encoding;
  RETURN_IF_ERROR(impl_->Encode(text, add_special_tokens, &encoding.ids, &encoding.offsets));
  return encoding;
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::EncodeIds(absl::string_view text,
                                                          bool add_special_tokens) const {
  std::vector<int32_t> ids;
  RETURN_IF_ERROR(impl_->Encode(text, add_special_tokens, &ids, nullptr));
  return ids;
}

std::string Tokenizer::Decode(absl::Span<const int32_t> ids, bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  for (const int32_t id : ids) {
    std::optional<std::string> token = IdToToken(id);
    if (!token) continue;
    if (skip_special_tokens && impl_->added.IsSpecialContent(*token)) continue;
    tokens.push_back(*std::move(token));
  }
  if (impl_->decoder == nullptr) return absl::StrJoin(tokens, " ");
  impl_->decoder->Decode(&tokens);
  return absl::StrJoin(tokens, "");
}

int32_t Tokenizer::vocab_size() const {
  return std::max(impl_->tables->id_limit(), impl_->added.id_limit());
}

std::optional<int32_t> Tokenizer::TokenToId(absl::string_view token) const {
  if (const AddedToken* added = impl_->added.Find(token)) return added->id;
  const int32_t id = impl_->tables->Find(token);
  if (id == ModelTables::kNone) return std::nullopt;
  return id;
}

std::optional<std::string> Tokenizer::IdToToken(int32_t id) const {
  if (const AddedToken* added = impl_->added.Find(id)) return added->normalized_content;
  const absl::string_view text = impl_->tables->Text(id);
  if (text.data() == nullptr) return std::nullopt;
  return std::string(text);
}

const TokenDescription* Tokenizer::FindAdded(absl::string_view content) const {
  return impl_->added.Find(content);
}

std::vector<std::string> Tokenizer::SpecialTexts() const { return impl_->added.SpecialContents(); }

bool Tokenizer::IsAdded(int32_t id) const { return impl_->added.Find(id) != nullptr; }

bool Tokenizer::HoldsBack(int32_t id) const {
  if (impl_->decoder == nullptr || !impl_->decoder->has_byte_fallback()) return false;
  const std::optional<std::string> token = IdToToken(id);
  return token && ByteOfToken(*token) >= 0;
}

const std::string& Tokenizer::fingerprint() const { return impl_->fingerprint; }

}  // namespace lockstep::data
