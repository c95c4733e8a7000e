#include "data/tokenizer/model_tables.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/status.h"
#include "data/tokenizer/decoders.h"
#include "data/tokenizer/unicode.h"

namespace lockstep::data {
namespace {

constexpr char kMagic[8] = {'L', 'S', 'T', 'O', 'K', '0', '0', '1'};
constexpr char32_t kDirectCharacters = 0x10000;
constexpr uint64_t kJoinBits = 1 << 21;
constexpr uint64_t kEmptyMerge = ~uint64_t{0};

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

uint64_t Mix(uint64_t key) {
  key *= 0x9E3779B97F4A7C15ull;
  return key ^ key >> 32;
}

uint64_t JoinBit(char32_t a, char32_t b) {
  return Mix(static_cast<uint64_t>(a) << 32 | b) & (kJoinBits - 1);
}

// A token slot holds the upper half of the token's hash, and its entry plus one.
int32_t SlotEntry(uint64_t slot) { return static_cast<int32_t>(slot) - 1; }

// A power of two with at most half of its slots used.
uint64_t SlotCount(uint64_t used) {
  uint64_t slots = 16;
  while (slots < 2 * used) slots *= 2;
  return slots;
}

}  // namespace

// All offsets are bytes from the block's begin; all parts are aligned to 64 bytes.
struct ModelTables::Header {
  char magic[8];
  uint64_t checksum;  // of everything behind it
  uint64_t size;      // of the block
  char fingerprint[32];
  uint64_t num_tokens;
  uint64_t id_limit;
  uint64_t joins_by_character;
  uint64_t token_slot_count;
  uint64_t merge_slot_count;
  uint64_t entries, by_id, token_slots, merge_slots, characters, joins, settings, pool;
  uint64_t settings_size;

  static constexpr size_t kChecksumBegin = 16;
};

struct ModelTables::MergeSlot {
  uint64_t key;
  Merge merge;
};

// A token: its text is pool[begin, begin + size).
struct ModelTables::Entry {
  uint32_t begin;
  uint32_t size;
  int32_t id;
};

const ModelTables::Header& ModelTables::header() const {
  return *reinterpret_cast<const Header*>(block_.data());
}

void ModelTables::SetBlock(absl::string_view block) {
  block_ = block;
  const Header& h = header();
  const auto at = [&](uint64_t offset) { return block_.data() + offset; };
  entries_ = reinterpret_cast<const Entry*>(at(h.entries));
  by_id_ = reinterpret_cast<const int32_t*>(at(h.by_id));
  token_slots_ = reinterpret_cast<const uint64_t*>(at(h.token_slots));
  merge_slots_ = reinterpret_cast<const MergeSlot*>(at(h.merge_slots));
  characters_ = reinterpret_cast<const int32_t*>(at(h.characters));
  joins_ = reinterpret_cast<const uint64_t*>(at(h.joins));
  pool_ = at(h.pool);
}

namespace {

// Lays out the parts of a block one behind the other.
class BlockPlan {
 public:
  explicit BlockPlan(size_t header_size) : size_(header_size) {}
  uint64_t Place(uint64_t bytes) {
    const uint64_t begin = (size_ + 63) / 64 * 64;
    size_ = begin + bytes;
    return begin;
  }
  uint64_t size() const { return (size_ + 63) / 64 * 64; }

 private:
  uint64_t size_;
};

// Tokens that stand for characters which are not their own text.
bool IsFallback(absl::string_view token, const ModelTables::Source& source) {
  return ByteOfToken(token) >= 0 || token == source.unk_token;
}

absl::Status MergeError(absl::string_view file, size_t index, absl::string_view token) {
  return UserError(absl::StrCat(file, ": model.merges[", index, "]"),
                   absl::StrCat("\"", token, "\" is not in the vocabulary"));
}

}  // namespace

void ModelTables::FillVocabulary(const Source& source) {
  char* block = owned_.data();
  Header& h = *reinterpret_cast<Header*>(block);
  auto* entries = reinterpret_cast<Entry*>(block + h.entries);
  auto* by_id = reinterpret_cast<int32_t*>(block + h.by_id);
  auto* token_slots = reinterpret_cast<uint64_t*>(block + h.token_slots);
  auto* characters = reinterpret_cast<int32_t*>(block + h.characters);
  std::fill(by_id, by_id + h.id_limit, kNone);
  std::fill(characters, characters + kDirectCharacters, kNone);
  uint32_t pool_used = 0;
  for (const auto& [token, id] : source.vocab) {
    const uint64_t hash = Hash64(token);
    uint64_t slot = hash & (h.token_slot_count - 1);
    while (token_slots[slot] != 0 && EntryText(SlotEntry(token_slots[slot])) != token) {
      slot = (slot + 1) & (h.token_slot_count - 1);
    }
    int32_t entry;
    if (token_slots[slot] != 0) {  // the same token again
      entry = SlotEntry(token_slots[slot]);
      if (by_id[entries[entry].id] == entry) by_id[entries[entry].id] = kNone;
    } else {
      entry = static_cast<int32_t>(h.num_tokens++);
      token_slots[slot] = (hash & ~uint64_t{0xFFFFFFFF}) | static_cast<uint32_t>(entry + 1);
      if (!token.empty()) std::memcpy(block + h.pool + pool_used, token.data(), token.size());
      entries[entry] = {pool_used, static_cast<uint32_t>(token.size()), id};
      pool_used += static_cast<uint32_t>(token.size());
    }
    entries[entry].id = id;
    if (by_id[id] != kNone) h.joins_by_character = 0;  // two tokens of one id
    by_id[id] = entry;
    if (!token.empty()) {
      int length;
      const char32_t c = DecodeUtf8(token.data(), &length);
      if (c < kDirectCharacters && token.size() == static_cast<size_t>(length)) characters[c] = id;
    }
  }
}

absl::Status ModelTables::FillMerges(const Source& source, absl::string_view file) {
  char* block = owned_.data();
  Header& h = *reinterpret_cast<Header*>(block);
  auto* merge_slots = reinterpret_cast<MergeSlot*>(block + h.merge_slots);
  auto* joins = reinterpret_cast<uint64_t*>(block + h.joins);
  std::fill(merge_slots, merge_slots + h.merge_slot_count, MergeSlot{kEmptyMerge, {0, 0}});
  std::string merged;
  for (size_t i = 0; i < source.merges.size(); ++i) {
    const auto& [left, right] = source.merges[i];
    const int32_t left_id = Find(left);
    if (left_id == kNone) return MergeError(file, i, left);
    const int32_t right_id = Find(right);
    if (right_id == kNone || right.size() < source.prefix_size) return MergeError(file, i, right);
    const absl::string_view tail = right.substr(source.prefix_size);
    merged.assign(left.data(), left.size());
    merged.append(tail.data(), tail.size());
    const int32_t merged_id = Find(merged);
    if (merged_id == kNone) return MergeError(file, i, merged);

    const uint64_t key = PairKey(left_id, right_id);
    uint64_t slot = Mix(key) & (h.merge_slot_count - 1);
    while (merge_slots[slot].key != kEmptyMerge && merge_slots[slot].key != key) {
      slot = (slot + 1) & (h.merge_slot_count - 1);
    }
    merge_slots[slot] = {key, {static_cast<uint32_t>(i), merged_id}};

    if (left.empty() || right.empty() || IsFallback(left, source) || IsFallback(right, source)) {
      h.joins_by_character = 0;
      continue;
    }
    int length;
    const char32_t a = DecodeUtf8Before(left.data() + left.size(), &length);
    const uint64_t bit = JoinBit(a, DecodeUtf8(right.data(), &length));
    joins[bit / 64] |= uint64_t{1} << bit % 64;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<const ModelTables>> ModelTables::Build(const Source& source,
                                                                      absl::string_view file) {
  uint64_t pool_size = 0;
  int64_t id_limit = 0;
  for (const auto& [token, id] : source.vocab) {
    pool_size += token.size();
    id_limit = std::max<int64_t>(id_limit, int64_t{id} + 1);
  }
  if (pool_size >> 32 != 0) return UserError(file, "the vocabulary has 4 GiB of text or more");

  BlockPlan plan(sizeof(Header));
  Header h{};
  std::memcpy(h.magic, kMagic, sizeof(kMagic));
  CHECK_EQ(source.fingerprint.size(), sizeof(h.fingerprint));
  std::memcpy(h.fingerprint, source.fingerprint.data(), sizeof(h.fingerprint));
  h.id_limit = id_limit;
  h.joins_by_character = source.prefix_size == 0;
  h.token_slot_count = SlotCount(source.vocab.size());
  h.merge_slot_count = SlotCount(source.merges.size());
  h.entries = plan.Place(source.vocab.size() * sizeof(Entry));
  h.by_id = plan.Place(id_limit * sizeof(int32_t));
  h.token_slots = plan.Place(h.token_slot_count * sizeof(uint64_t));
  h.merge_slots = plan.Place(h.merge_slot_count * sizeof(MergeSlot));
  h.characters = plan.Place(kDirectCharacters * sizeof(int32_t));
  h.joins = plan.Place(kJoinBits / 8);
  h.settings = plan.Place(source.settings.size());
  h.settings_size = source.settings.size();
  h.pool = plan.Place(pool_size);
  h.size = plan.size();

  auto tables = std::unique_ptr<ModelTables>(new ModelTables);
  tables->owned_.assign(h.size, '\0');
  std::memcpy(tables->owned_.data(), &h, sizeof(h));
  std::memcpy(tables->owned_.data() + h.settings, source.settings.data(), source.settings.size());
  tables->SetBlock(tables->owned_);
  tables->FillVocabulary(source);
  RETURN_IF_ERROR(tables->FillMerges(source, file));
  reinterpret_cast<Header*>(tables->owned_.data())->checksum =
      Hash64(tables->block_.substr(Header::kChecksumBegin));
  return tables;
}

std::unique_ptr<const ModelTables> ModelTables::FromFile(std::shared_ptr<const MappedFile> file,
                                                         absl::string_view fingerprint) {
  const absl::string_view block = file->view();
  if (block.size() < sizeof(Header)) return nullptr;
  const Header& h = *reinterpret_cast<const Header*>(block.data());
  if (std::memcmp(h.magic, kMagic, sizeof(kMagic)) != 0 || h.size != block.size() ||
      absl::string_view(h.fingerprint, sizeof(h.fingerprint)) != fingerprint ||
      h.checksum != Hash64(block.substr(Header::kChecksumBegin))) {
    return nullptr;
  }
  auto tables = std::unique_ptr<ModelTables>(new ModelTables);
  tables->SetBlock(block);
  tables->file_ = std::move(file);
  return tables;
}

absl::string_view ModelTables::EntryText(int32_t entry) const {
  return {pool_ + entries_[entry].begin, entries_[entry].size};
}

int32_t ModelTables::Find(absl::string_view token) const {
  const uint64_t mask = header().token_slot_count - 1;
  const uint64_t hash = Hash64(token);
  for (uint64_t slot = hash & mask; token_slots_[slot] != 0; slot = (slot + 1) & mask) {
    if ((token_slots_[slot] ^ hash) >> 32 != 0) continue;
    const int32_t entry = SlotEntry(token_slots_[slot]);
    if (EntryText(entry) == token) return entries_[entry].id;
  }
  return kNone;
}

int32_t ModelTables::FindCharacter(char32_t c) const {
  return c < kDirectCharacters ? characters_[c] : Find(Utf8(c));
}

absl::string_view ModelTables::Text(int32_t id) const {
  if (id < 0 || id >= id_limit() || by_id_[id] == kNone) return {};
  return EntryText(by_id_[id]);
}

const Merge* ModelTables::FindMerge(int32_t left, int32_t right) const {
  const uint64_t mask = header().merge_slot_count - 1;
  const uint64_t key = PairKey(left, right);
  for (uint64_t slot = Mix(key) & mask; merge_slots_[slot].key != kEmptyMerge;
       slot = (slot + 1) & mask) {
    if (merge_slots_[slot].key == key) return &merge_slots_[slot].merge;
  }
  return nullptr;
}

bool ModelTables::MayJoin(char32_t a, char32_t b) const {
  const uint64_t bit = JoinBit(a, b);
  return (joins_[bit / 64] >> bit % 64 & 1) != 0;
}

bool ModelTables::joins_by_character() const { return header().joins_by_character != 0; }

int32_t ModelTables::id_limit() const { return static_cast<int32_t>(header().id_limit); }

int32_t ModelTables::num_tokens() const { return static_cast<int32_t>(header().num_tokens); }

absl::string_view ModelTables::settings() const {
  return block_.substr(header().settings, header().settings_size);
}

absl::string_view ModelTables::fingerprint() const {
  return {header().fingerprint, sizeof(Header::fingerprint)};
}

}  // namespace lockstep::data
