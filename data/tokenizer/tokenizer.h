// Text to token ids and back, by a Hugging Face `tokenizer.json` of the BPE model kind.
//
//   ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Load("model/tokenizer.json", {}));
//   ASSIGN_OR_RETURN(const Encoding encoding, tokenizer->Encode("Hello", true));
//
// The result equals that of the `tokenizers` library (0.23): ids, special tokens, decoded text. The
// way of a text, each step a file of this folder:
//
//   added_tokens    cut out the added tokens that match the raw text
//   normalizers     normalize each remaining piece; cut out added tokens that match it now
//   pre_tokenizers  cut the pieces into words
//   bpe             merge each word's characters into tokens
//   post_processors put special tokens around (add_special_tokens)
//   decoders        and back
//
// `truncation` and `padding` of the file are not applied: lengths are the caller's business. A
// component that is not supported is an error of Load that names its place in the file.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace lockstep::data {

struct TokenizerOptions {
  // Where to keep the parsed form of large files (see model_cache.h); empty: nowhere. It is made if
  // it does not exist. A folder that cannot be written to is no error: the file is parsed again.
  std::string cache_dir;
};

// Bytes [begin, end) of the text that was encoded.
struct TokenSpan {
  int32_t begin = 0;
  int32_t end = 0;
  friend bool operator==(const TokenSpan&, const TokenSpan&) = default;
};

// One document's tokens. Spans grow from left to right. A token made of some bytes of a character
// has exactly these bytes where the text is unchanged by normalization, else the whole span of
// characters that it was made from. What the tokenizer put in by itself has the span of the
// character behind it; the post-processor's special tokens have an empty span at the text's begin
// or end. Spaces that belong to a token belong to its span (`trim_offsets` is not applied).
struct Encoding {
  std::vector<int32_t> ids;
  std::vector<TokenSpan> offsets;  // same length as ids
};

struct TokenDescription;

// Immutable after Load; all methods may be called by many threads at once.
class Tokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(absl::string_view path,
                                                         const TokenizerOptions& options);
  // The content of a tokenizer.json; `name` stands for its path in errors.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Parse(absl::string_view json,
                                                          absl::string_view name);
  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // Errors: text that is not valid UTF-8 (names the byte), text of 512 MiB or more, a regular
  // expression of the file that needs too many steps, a character that the model has no token for
  // while its unk_token is not in its vocabulary.
  absl::StatusOr<Encoding> Encode(absl::string_view text, bool add_special_tokens) const;
  // The same without the spans, which is faster.
  absl::StatusOr<std::vector<int32_t>> EncodeIds(absl::string_view text,
                                                 bool add_special_tokens) const;

  // Ids outside the vocabulary are left out; bytes that are no UTF-8 become U+FFFD. Never fails.
  std::string Decode(absl::Span<const int32_t> ids, bool skip_special_tokens) const;

  // One more than the largest id. An id below it may be unused.
  int32_t vocab_size() const;
  // The id of a token as it is written in the file ("Ġthe", "<|im_end|>").
  std::optional<int32_t> TokenToId(absl::string_view token) const;
  std::optional<std::string> IdToToken(int32_t id) const;
  // The added token of this content (data/tokenizer/token_description.h), or null.
  const TokenDescription* FindAdded(absl::string_view content) const;
  // The added tokens with "special": true as they are written in a text, in no order. (IdToToken
  // has their normalized form.)
  std::vector<std::string> SpecialTexts() const;
  // True for tokens that are cut out of the text before anything else: all of `added_tokens`.
  bool IsAdded(int32_t id) const;

  // True for tokens <0xHH> where the decoder makes text of them: their text is certain only when
  // another token follows, since a run of them counts as a whole.
  bool HoldsBack(int32_t id) const;

  // Identifies the content of tokenizer.json: for the keys of caches.
  const std::string& fingerprint() const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep::data
