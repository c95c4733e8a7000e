// Text under rewriting, with the place in the input that each byte came from.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "data/tokenizer/tokenizer.h"

namespace lockstep::data {

// A piece of text. `alignment` has one span of the input for each byte. Where it is null, the text
// is the input itself from `origin` on; or the alignment is not tracked, since only ids are asked
// for, and spans mean nothing.
struct AlignedView {
  absl::string_view text;
  const TokenSpan* alignment = nullptr;
  int32_t origin = 0;

  AlignedView Part(size_t begin, size_t end) const {
    return {text.substr(begin, end - begin), alignment ? alignment + begin : nullptr,
            origin + static_cast<int32_t>(begin)};
  }
  // From where the bytes [begin, end) came; begin < end.
  TokenSpan Span(size_t begin, size_t end) const {
    if (alignment) return {alignment[begin].begin, alignment[end - 1].end};
    return {origin + static_cast<int32_t>(begin), origin + static_cast<int32_t>(end)};
  }
};

// Text that is being written, byte by byte with its alignment (if that is tracked).
class AlignedText {
 public:
  void Clear(bool tracked) {
    text_.clear();
    alignment_.clear();
    tracked_ = tracked;
  }
  // Appends bytes as they are.
  void Keep(const AlignedView& from);
  // Appends new bytes which stand for `span` of the input.
  void Put(absl::string_view text, TokenSpan span) {
    text_.append(text.data(), text.size());
    if (tracked_) alignment_.resize(text_.size(), span);
  }
  void Put(char32_t c, TokenSpan span);

  bool tracked() const { return tracked_; }
  size_t size() const { return text_.size(); }
  AlignedView view() const { return {text_, tracked_ ? alignment_.data() : nullptr}; }

 private:
  std::string text_;
  std::vector<TokenSpan> alignment_;
  bool tracked_ = false;
};

}  // namespace lockstep::data
