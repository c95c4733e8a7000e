#include "data/tokenizer/aligned_text.h"

#include "data/tokenizer/unicode.h"

namespace lockstep::data {

void AlignedText::Keep(const AlignedView& from) {
  text_.append(from.text.data(), from.text.size());
  if (!tracked_) return;
  if (from.alignment) {
    alignment_.insert(alignment_.end(), from.alignment, from.alignment + from.text.size());
    return;
  }
  for (size_t i = 0; i < from.text.size(); ++i) alignment_.push_back(from.Span(i, i + 1));
}

void AlignedText::Put(char32_t c, TokenSpan span) {
  AppendUtf8(c, &text_);
  if (tracked_) alignment_.resize(text_.size(), span);
}

}  // namespace lockstep::data
