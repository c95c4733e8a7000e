// A document cut into pieces: first by added tokens, then by the pre-tokenizers into words.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "data/tokenizer/aligned_text.h"

namespace lockstep::data {

// Bytes [begin, end) of the document's text as it is by now. `token` is the id of an added token
// that was found here, or kText. Pieces are never empty; what lies between them is dropped.
struct Piece {
  static constexpr int32_t kText = -1;
  uint32_t begin;
  uint32_t end;
  int32_t token;
};

class Pieces {
 public:
  // Makes the whole of `text` one piece; `text` must live as long as the pieces are used. With
  // `tracked`, every byte knows its place in `text` even after Rewrite.
  void Reset(absl::string_view text, bool tracked);

  const std::vector<Piece>& pieces() const { return pieces_; }
  AlignedView View(const Piece& piece) const { return current_.Part(piece.begin, piece.end); }
  // Where a piece begins in the input. While nothing was rewritten this is known without tracking.
  uint32_t InputBegin(const Piece& piece) const { return View(piece).Span(0, 1).begin; }

  // Replaces every text piece by the ones that `cut` adds to the list: offsets of these are into
  // the document's text (View(piece) begins at piece.begin). Empty ones are left out.
  absl::Status Cut(
      absl::FunctionRef<absl::Status(const Piece& piece, std::vector<Piece>* cut)> cut);

  // True of all text pieces.
  bool All(absl::FunctionRef<bool(absl::string_view text)> is) const;

  // Writes every text piece anew. A piece that becomes empty disappears.
  absl::Status Rewrite(
      absl::FunctionRef<absl::Status(const Piece& piece, AlignedText* out)> rewrite);

 private:
  bool tracked_ = false;
  AlignedView current_;
  AlignedText text_[2];  // current_ is the input, or one of these
  int next_text_ = 0;
  std::vector<Piece> pieces_;
  std::vector<Piece> new_pieces_;
};

// What becomes of the delimiters that a Split finds.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// A stretch of a piece: a delimiter, or what lies between delimiters.
struct Match {
  uint32_t begin;
  uint32_t end;
  bool is_delimiter;
};

// Cuts a piece by `behavior`. `matches` are in order, relative to the piece's begin, and cover it
// whole.
void CutByMatches(const Piece& piece, const std::vector<Match>& matches, SplitBehavior behavior,
                  std::vector<Piece>* cut);

}  // namespace lockstep::data
