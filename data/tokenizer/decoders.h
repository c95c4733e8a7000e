// Decoders: from tokens back to text. Each step rewrites the list of tokens; what remains is
// joined.
//
//   ByteLevel     characters back to bytes (byte_level.h); a token with another character stays
//   ByteFallback  runs of <0xHH> to the text that they are in UTF-8, or one U+FFFD for each
//   Metaspace     `replacement` to space, none at the beginning
//   Replace       pattern, content
//   Strip         up to `start` and `stop` times `content` from each token's ends
//   Fuse          joins all tokens
//   BPEDecoder    `suffix` to space; WordPiece: `prefix`, cleanup
//   Sequence      `decoders`, one after the other
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/tokenizer/settings.h"

namespace lockstep::data {

class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual void Decode(std::vector<std::string>* tokens) const = 0;
  // True if it turns <0xHH> tokens to text: then the text of such a token is certain only when
  // another token has followed.
  virtual bool has_byte_fallback() const { return false; }
};

absl::StatusOr<std::unique_ptr<const Decoder>> MakeDecoder(const Settings& settings);

// The byte of a token "<0xHH>", or -1.
int ByteOfToken(absl::string_view token);

}  // namespace lockstep::data
