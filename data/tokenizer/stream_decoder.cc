#include "data/tokenizer/stream_decoder.h"

#include <algorithm>

#include "absl/strings/match.h"

namespace lockstep::data {
namespace {

// What follows the longest common beginning, which does not end inside a character.
std::string Behind(const std::string& given, const std::string& text) {
  const auto ends = std::mismatch(given.begin(), given.end(), text.begin(), text.end());
  size_t same = ends.second - text.begin();
  while (same > 0 && same < text.size() && (text[same] & 0xC0) == 0x80) --same;
  return text.substr(same);
}

}  // namespace

// Decoders look at their neighbors: one drops the space of the first token only, another turns a
// run of byte tokens into text only as a whole. So the new ids are decoded together with those
// before, and the text is what this adds. (A decoder that changes text because of what follows much
// later, like WordPiece's cleanup, can give other text than Decode of all.)
std::string StreamDecoder::Push(int32_t id) {
  ids_.push_back(id);
  if (tokenizer_.HoldsBack(id)) return "";
  const std::string text = tokenizer_.Decode(ids_, skip_special_tokens_);
  if (text.size() <= given_.size() || absl::EndsWith(text, "\uFFFD")) return "";
  std::string news = Behind(given_, text);
  ids_.erase(ids_.begin(), ids_.begin() + context_);
  context_ = ids_.size();
  given_ = tokenizer_.Decode(ids_, skip_special_tokens_);
  return news;
}

std::string StreamDecoder::Finish() {
  const std::string text = tokenizer_.Decode(ids_, skip_special_tokens_);
  std::string news = Behind(given_, text);
  ids_.clear();
  context_ = 0;
  given_.clear();
  return news;
}

}  // namespace lockstep::data
