#include "data/tokenizer/pieces.h"

#include <algorithm>

#include "base/status.h"

namespace lockstep::data {

void Pieces::Reset(absl::string_view text, bool tracked) {
  tracked_ = tracked;
  const int32_t size = static_cast<int32_t>(text.size());
  current_ = {text, nullptr, 0};
  pieces_.clear();
  if (size > 0) pieces_.push_back({0, static_cast<uint32_t>(size), Piece::kText});
}

absl::Status Pieces::Cut(
    absl::FunctionRef<absl::Status(const Piece& piece, std::vector<Piece>* cut)> cut) {
  new_pieces_.clear();
  for (const Piece& piece : pieces_) {
    if (piece.token != Piece::kText) {
      new_pieces_.push_back(piece);
    } else {
      RETURN_IF_ERROR(cut(piece, &new_pieces_));
    }
  }
  pieces_.swap(new_pieces_);
  return absl::OkStatus();
}

bool Pieces::All(absl::FunctionRef<bool(absl::string_view text)> is) const {
  return std::all_of(pieces_.begin(), pieces_.end(), [&](const Piece& piece) {
    return piece.token != Piece::kText || is(View(piece).text);
  });
}

absl::Status Pieces::Rewrite(
    absl::FunctionRef<absl::Status(const Piece& piece, AlignedText* out)> rewrite) {
  AlignedText& out = text_[next_text_];
  out.Clear(tracked_);
  new_pieces_.clear();
  for (const Piece& piece : pieces_) {
    const uint32_t begin = static_cast<uint32_t>(out.size());
    if (piece.token != Piece::kText) {
      out.Keep(View(piece));
    } else {
      RETURN_IF_ERROR(rewrite(piece, &out));
    }
    const uint32_t end = static_cast<uint32_t>(out.size());
    if (begin != end) new_pieces_.push_back({begin, end, piece.token});
  }
  current_ = out.view();
  next_text_ = 1 - next_text_;
  pieces_.swap(new_pieces_);
  return absl::OkStatus();
}

void CutByMatches(const Piece& piece, const std::vector<Match>& matches, SplitBehavior behavior,
                  std::vector<Piece>* cut) {
  const size_t first = cut->size();
  const auto add = [&](const Match& m) {
    cut->push_back({piece.begin + m.begin, piece.begin + m.end, Piece::kText});
  };
  bool previous = false;
  switch (behavior) {
    case SplitBehavior::kRemoved:
      for (const Match& m : matches) {
        if (!m.is_delimiter) add(m);
      }
      break;
    case SplitBehavior::kIsolated:
      for (const Match& m : matches) add(m);
      break;
    case SplitBehavior::kContiguous:
      for (const Match& m : matches) {
        if (m.is_delimiter == previous && cut->size() > first) {
          cut->back().end = piece.begin + m.end;
        } else {
          add(m);
        }
        previous = m.is_delimiter;
      }
      break;
    case SplitBehavior::kMergedWithPrevious:
      for (const Match& m : matches) {
        if (m.is_delimiter && !previous && cut->size() > first) {
          cut->back().end = piece.begin + m.end;
        } else {
          add(m);
        }
        previous = m.is_delimiter;
      }
      break;
    case SplitBehavior::kMergedWithNext:
      for (size_t i = matches.size(); i-- > 0;) {
        const Match& m = matches[i];
        if (m.is_delimiter && !previous && cut->size() > first) {
          cut->back().begin = piece.begin + m.begin;
        } else {
          add(m);
        }
        previous = m.is_delimiter;
      }
      std::reverse(cut->begin() + first, cut->end());
      break;
  }
  size_t kept = first;
  for (size_t i = first; i < cut->size(); ++i) {
    if ((*cut)[i].begin < (*cut)[i].end) (*cut)[kept++] = (*cut)[i];
  }
  cut->resize(kept);
}

}  // namespace lockstep::data
