#include "data/jinja/text_wrap.h"

#include <algorithm>
#include <deque>

#include "data/jinja/text.h"

namespace lockstep::data::jinja {

namespace {

// Cuts a line into chunks that may be the last of their line.
class Chunks {
 public:
  explicit Chunks(const std::u32string& line) : line_(line), size_(line.size()) {}

  std::deque<std::u32string> Cut(bool on_hyphens) const {
    std::deque<std::u32string> out;
    for (size_t at = 0; at < size_;) {
      const size_t end = Space(at) ? SpaceEnd(at) : on_hyphens ? WordEnd(at) : SolidEnd(at);
      out.push_back(line_.substr(at, end - at));
      at = end;
    }
    return out;
  }

 private:
  // textwrap knows ASCII white space only.
  bool Space(size_t at) const {
    return at < size_ && (line_[at] == ' ' || (line_[at] >= 9 && line_[at] <= 13));
  }
  bool Dash(size_t at) const { return at < size_ && line_[at] == '-'; }
  bool Word(size_t at) const { return at < size_ && IsWord(line_[at]); }
  bool Letter(size_t at) const { return Word(at) && !IsDecimal(line_[at]); }
  // Of a word or its punctuation; nothing stands before the line.
  bool InWord(size_t end) const {
    const std::u32string punctuation = U"!\"'&.,?";
    return end > 0 && (Word(end - 1) || punctuation.find(line_[end - 1]) != std::u32string::npos);
  }

  size_t SpaceEnd(size_t at) const {
    while (Space(at)) ++at;
    return at;
  }
  size_t SolidEnd(size_t at) const {
    while (at < size_ && !Space(at)) ++at;
    return at;
  }
  // The end of two or more dashes between words that begin at `at`; else `at`.
  size_t EmDashEnd(size_t at) const {
    if (!InWord(at)) return at;
    size_t end = at;
    while (Dash(end)) ++end;
    return end >= at + 2 && Word(end) ? end : at;
  }
  // True if a word may be broken behind the hyphen at `at`: "ab-cd", "a-b-cd".
  bool HyphenAt(size_t at) const {
    if (!Dash(at)) return false;
    const bool before = (at >= 2 && Letter(at - 2) && Letter(at - 1)) ||
                        (at >= 3 && Letter(at - 3) && Dash(at - 2) && Letter(at - 1));
    const size_t second = Dash(at + 2) ? at + 3 : at + 2;
    return before && Letter(at + 1) && Letter(second);
  }
  size_t WordEnd(size_t at) const {
    if (const size_t end = EmDashEnd(at); end > at) return end;
    for (size_t end = at + 1; end < size_ && !Space(end); ++end) {
      if (HyphenAt(end)) return end + 1;
      if (EmDashEnd(end) > end) return end;
    }
    return SolidEnd(at);
  }

  const std::u32string& line_;
  const size_t size_;
};

bool IsBlank(const std::u32string& text) { return std::all_of(text.begin(), text.end(), IsSpace); }

// How much of a word that fits on no line goes on this one, which has `room` left.
size_t BreakOf(const std::u32string& word, size_t room, const WrapOptions& options) {
  if (!options.break_on_hyphens || word.size() <= room || room == 0) return room;
  const size_t hyphen = word.rfind(U'-', room - 1);
  if (hyphen == std::u32string::npos || hyphen == 0) return room;
  return word.find_first_not_of(U'-') < hyphen ? hyphen + 1 : room;
}

}  // namespace

std::vector<std::string> WrapLine(absl::string_view line, const WrapOptions& options) {
  const std::u32string text = Decode(line);
  const size_t width = static_cast<size_t>(options.width);
  std::deque<std::u32string> chunks = Chunks(text).Cut(options.break_on_hyphens);
  std::vector<std::string> lines;
  while (!chunks.empty()) {
    if (!lines.empty() && IsBlank(chunks.front())) chunks.pop_front();
    std::vector<std::u32string> current;
    size_t used = 0;
    while (!chunks.empty() && used + chunks.front().size() <= width) {
      used += chunks.front().size();
      current.push_back(std::move(chunks.front()));
      chunks.pop_front();
    }
    if (!chunks.empty() && chunks.front().size() > width) {
      std::u32string& word = chunks.front();
      if (options.break_long_words) {
        const size_t end = BreakOf(word, width - used, options);
        current.push_back(word.substr(0, end));
        word.erase(0, end);
      } else if (current.empty()) {
        current.push_back(std::move(word));
        chunks.pop_front();
      }
    }
    if (!current.empty() && IsBlank(current.back())) current.pop_back();
    if (current.empty()) continue;
    std::string joined;
    for (const std::u32string& part : current) joined += Encode(part);
    lines.push_back(std::move(joined));
  }
  return lines;
}

}  // namespace lockstep::data::jinja
