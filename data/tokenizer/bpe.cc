#include "data/tokenizer/bpe.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "data/tokenizer/byte_level.h"
#include "data/tokenizer/unicode.h"

namespace lockstep::data {
namespace {

constexpr int32_t kNone = ModelTables::kNone;
// Up to here, looking through all pairs is faster than keeping a heap.
constexpr size_t kFewSymbols = 40;

absl::StatusOr<std::string> OptionalString(const Settings& settings, absl::string_view key) {
  ASSIGN_OR_RETURN(const std::optional<Settings> setting, settings.Find(key));
  return setting ? setting->String() : std::string();
}

}  // namespace

absl::StatusOr<BpeOptions> ReadBpeOptions(const Settings& model) {
  ASSIGN_OR_RETURN(const std::optional<Settings> dropout, model.Find("dropout"));
  if (dropout) {
    double rate;
    if (dropout->value().get(rate) || rate != 0) {
      return dropout->Error("BPE dropout is not supported",
                            "set it to null: ids would change from run to run");
    }
  }
  BpeOptions options;
  ASSIGN_OR_RETURN(options.unk_token, OptionalString(model, "unk_token"));
  ASSIGN_OR_RETURN(options.continuing_subword_prefix,
                   OptionalString(model, "continuing_subword_prefix"));
  ASSIGN_OR_RETURN(options.end_of_word_suffix, OptionalString(model, "end_of_word_suffix"));
  ASSIGN_OR_RETURN(options.fuse_unk, model.Bool("fuse_unk", false));
  ASSIGN_OR_RETURN(options.byte_fallback, model.Bool("byte_fallback", false));
  ASSIGN_OR_RETURN(options.ignore_merges, model.Bool("ignore_merges", false));
  return options;
}

Bpe::Bpe(const ModelTables& tables, BpeOptions options)
    : tables_(tables),
      options_(std::move(options)),
      cuts_long_words_(tables.joins_by_character() && options_.end_of_word_suffix.empty() &&
                       options_.continuing_subword_prefix.empty() && !options_.ignore_merges) {
  if (!options_.unk_token.empty()) unk_id_ = tables.Find(options_.unk_token);
  for (int b = 0; b < 256; ++b) {
    byte_tokens_[b] = tables.Find(absl::StrFormat("<0x%02X>", b));
    byte_symbols_[b] = tables.FindCharacter(ByteLevelCharacters()[b]);
  }
}

absl::Status Bpe::Encode(absl::string_view word, BpeWorkspace* workspace,
                         std::vector<WordToken>* tokens) const {
  if (word.size() <= WordCache::kMaxWordSize) return EncodeCached(word, workspace, tokens);
  if (cuts_long_words_) return EncodeLong(word, workspace, tokens);
  return EncodeNew(word, workspace, tokens);
}

absl::Status Bpe::EncodeCached(absl::string_view word, BpeWorkspace* workspace,
                               std::vector<WordToken>* tokens) const {
  const uint64_t hash = WordCache::Hash(word);
  absl::Span<const WordToken> known;
  if (workspace->cache_.Find(word, hash, &known)) {
    tokens->insert(tokens->end(), known.begin(), known.end());
    return absl::OkStatus();
  }
  const size_t first = tokens->size();
  RETURN_IF_ERROR(EncodeNew(word, workspace, tokens));
  workspace->cache_.Insert(word, hash, absl::MakeConstSpan(*tokens).subspan(first));
  return absl::OkStatus();
}

// Models without pre-tokenizer have whole documents as words. These are cut where no token can
// reach over, mostly in front of a space; what lies between comes again and again. A character that
// the vocabulary lacks may vanish, and then its neighbors join.
absl::Status Bpe::EncodeLong(absl::string_view word, BpeWorkspace* workspace,
                             std::vector<WordToken>* tokens) const {
  size_t begin = 0;
  char32_t previous = 0;
  bool previous_known = false;
  for (size_t i = 0; i <= word.size();) {
    int length = 1;
    char32_t c = 0;
    bool known = false;
    bool cut = i == word.size();
    if (!cut) {
      c = CharacterAt(word, i, &length);
      known = tables_.FindCharacter(c) != kNone;
      cut = known && previous_known && !tables_.MayJoin(previous, c);
    }
    if (cut && i > begin) {
      const absl::string_view part = word.substr(begin, i - begin);
      const size_t first = tokens->size();
      RETURN_IF_ERROR(part.size() <= WordCache::kMaxWordSize ? EncodeCached(part, workspace, tokens)
                                                             : EncodeNew(part, workspace, tokens));
      for (size_t t = first; t < tokens->size(); ++t) {
        (*tokens)[t].begin += static_cast<uint32_t>(begin);
        (*tokens)[t].end += static_cast<uint32_t>(begin);
      }
      begin = i;
    }
    previous = c;
    previous_known = known;
    i += length;
  }
  return absl::OkStatus();
}

absl::Status Bpe::EncodeNew(absl::string_view word, BpeWorkspace* workspace,
                            std::vector<WordToken>* tokens) const {
  if (options_.ignore_merges) {
    if (const int32_t id = FindWord(word, workspace); id != kNone) {
      tokens->push_back({id, 0, static_cast<uint32_t>(word.size())});
      return absl::OkStatus();
    }
  }
  RETURN_IF_ERROR(MakeSymbols(word, workspace));
  std::vector<Symbol>& symbols = workspace->symbols_;
  if (symbols.size() <= kFewSymbols) {
    MergeFew(workspace);
  } else {
    MergeMany(workspace);
  }
  for (const Symbol& symbol : symbols) {
    if (symbol.id != kNone) tokens->push_back({symbol.id, symbol.begin, symbol.end});
  }
  return absl::OkStatus();
}

int32_t Bpe::FindWord(absl::string_view word, BpeWorkspace* workspace) const {
  if (!options_.byte_level) return tables_.Find(word);
  workspace->text_.clear();
  AppendByteLevel(word, &workspace->text_);
  return tables_.Find(workspace->text_);
}

char32_t Bpe::CharacterAt(absl::string_view word, size_t at, int* length) const {
  if (!options_.byte_level) return DecodeUtf8(word.data() + at, length);
  *length = 1;
  return ByteLevelCharacters()[static_cast<unsigned char>(word[at])];
}

// The symbol of a character at this place of the word; `text` becomes what was looked for if it is
// not there.
int32_t Bpe::FindSymbol(char32_t c, bool first, bool last, std::string* text) const {
  const bool plain = (first || options_.continuing_subword_prefix.empty()) &&
                     (!last || options_.end_of_word_suffix.empty());
  if (plain) {
    if (const int32_t id = tables_.FindCharacter(c); id != kNone) return id;
  }
  text->clear();
  if (!first) *text = options_.continuing_subword_prefix;
  AppendUtf8(c, text);
  if (last) *text += options_.end_of_word_suffix;
  return plain ? kNone : tables_.Find(*text);
}

bool Bpe::AddBytes(absl::string_view text, uint32_t begin, uint32_t end,
                   std::vector<Symbol>* symbols) const {
  for (const char b : text) {
    if (byte_tokens_[static_cast<unsigned char>(b)] == kNone) return false;
  }
  for (size_t i = 0; i < text.size(); ++i) {
    // Byte by byte, where the text is the word's own.
    const bool own = text.size() == end - begin;
    const uint32_t at = begin + static_cast<uint32_t>(i);
    symbols->push_back({byte_tokens_[static_cast<unsigned char>(text[i])], own ? at : begin,
                        own ? at + 1 : end, 0, 0});
  }
  return true;
}

absl::Status Bpe::MakeSymbols(absl::string_view word, BpeWorkspace* workspace) const {
  std::vector<Symbol>& symbols = workspace->symbols_;
  symbols.clear();
  std::optional<Symbol> unknown;  // not yet among the symbols, since it may grow
  for (uint32_t i = 0; i < word.size();) {
    int length;
    const char32_t c = CharacterAt(word, i, &length);
    const uint32_t end = i + length;
    const int32_t id = FindSymbol(c, i == 0, end == word.size(), &workspace->text_);
    if (id != kNone) {
      if (unknown) symbols.push_back(*unknown);
      unknown.reset();
      symbols.push_back({id, i, end, 0, 0});
    } else if (options_.byte_fallback && AddBytes(workspace->text_, i, end, &symbols)) {
      // A pending unknown stays pending, as in the library that files are written for.
    } else if (!options_.unk_token.empty()) {
      if (unk_id_ == kNone) {
        return UserError("tokenizer.json: model.unk_token",
                         absl::StrCat("\"", options_.unk_token,
                                      "\" is not in the vocabulary, and a character needs it: ",
                                      workspace->text_));
      }
      if (unknown && options_.fuse_unk) {
        unknown->end = end;
      } else {
        if (unknown) symbols.push_back(*unknown);
        unknown = Symbol{unk_id_, i, end, 0, 0};
      }
    }
    i = end;
  }
  if (unknown) symbols.push_back(*unknown);
  return absl::OkStatus();
}

// Looks through all pairs for each merge; merged symbols are taken out at once.
void Bpe::MergeFew(BpeWorkspace* workspace) const {
  std::vector<Symbol>& symbols = workspace->symbols_;
  std::vector<const Merge*>& merges = workspace->merges_;  // of symbol i and the next
  merges.clear();
  for (size_t i = 0; i + 1 < symbols.size(); ++i) {
    merges.push_back(tables_.FindMerge(symbols[i].id, symbols[i + 1].id));
  }
  while (true) {
    size_t best = merges.size();
    for (size_t i = 0; i < merges.size(); ++i) {
      if (merges[i] != nullptr && (best == merges.size() || merges[i]->rank < merges[best]->rank)) {
        best = i;
      }
    }
    if (best == merges.size()) return;
    symbols[best].id = merges[best]->id;
    symbols[best].end = symbols[best + 1].end;
    symbols.erase(symbols.begin() + best + 1);
    merges.erase(merges.begin() + best);
    if (best > 0) merges[best - 1] = tables_.FindMerge(symbols[best - 1].id, symbols[best].id);
    if (best < merges.size())
      merges[best] = tables_.FindMerge(symbols[best].id, symbols[best + 1].id);
  }
}

// The same with a heap of candidates and a linked list: n·log n. Symbols that were merged into
// their left neighbor get the id kNone.
void Bpe::MergeMany(BpeWorkspace* workspace) const {
  std::vector<Symbol>& symbols = workspace->symbols_;
  std::vector<BpeWorkspace::Candidate>& heap = workspace->candidates_;
  const auto later = [](const BpeWorkspace::Candidate& a, const BpeWorkspace::Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  const int32_t count = static_cast<int32_t>(symbols.size());
  heap.clear();
  for (int32_t i = 0; i < count; ++i) {
    symbols[i].previous = i - 1;
    symbols[i].next = i + 1 < count ? i + 1 : -1;
    if (i + 1 == count) break;
    const Merge* merge = tables_.FindMerge(symbols[i].id, symbols[i + 1].id);
    if (merge != nullptr) heap.push_back({merge->rank, i, merge->id});
  }
  std::make_heap(heap.begin(), heap.end(), later);
  const auto push = [&](int32_t position) {
    const int32_t next = symbols[position].next;
    const Merge* merge = tables_.FindMerge(symbols[position].id, symbols[next].id);
    if (merge == nullptr) return;
    heap.push_back({merge->rank, position, merge->id});
    std::push_heap(heap.begin(), heap.end(), later);
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const BpeWorkspace::Candidate top = heap.back();
    heap.pop_back();
    Symbol& left = symbols[top.position];
    if (left.id == kNone || left.next < 0) continue;
    Symbol& right = symbols[left.next];
    // A candidate whose symbols have changed since is void.
    const Merge* merge = tables_.FindMerge(left.id, right.id);
    if (merge == nullptr || merge->id != top.id) continue;
    left.id = top.id;
    left.end = right.end;
    left.next = right.next;
    right.id = kNone;
    if (left.next >= 0) symbols[left.next].previous = top.position;
    if (left.previous >= 0) push(left.previous);
    if (left.next >= 0) push(top.position);
  }
}

}  // namespace lockstep::data
