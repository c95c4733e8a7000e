#include "data/chat_spans.h"

#include <algorithm>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace lockstep::data {

namespace {

using Span = std::pair<int64_t, int64_t>;

std::vector<size_t> AssistantMessages(const ChatExample& chat) {
  std::vector<size_t> out;
  const std::vector<jinja::Value>& messages = chat.messages.items();
  for (size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].Find("role")->str() == "assistant") out.push_back(i);
  }
  return out;
}

// Where the turn of message i begins in `text`. The generation prompt may hold more than the turn
// has (an opened <think>): then the two part inside the prompt, and the turn begins there.
absl::StatusOr<std::optional<int64_t>> TurnBegin(absl::string_view text, size_t i,
                                                 const RenderPrefix& render) {
  absl::StatusOr<jinja::Rendered> prompt = render(i, true);
  if (!prompt.ok()) {
    // A template may refuse a conversation that is cut here (before its first user message).
    return std::optional<int64_t>();
  }
  if (absl::StartsWith(text, prompt->text)) return static_cast<int64_t>(prompt->text.size());
  ASSIGN_OR_RETURN(const jinja::Rendered before, render(i, false));
  if (!absl::StartsWith(text, before.text)) return std::optional<int64_t>();
  const size_t limit = std::min(text.size(), prompt->text.size());
  const size_t common =
      std::mismatch(text.begin(), text.begin() + limit, prompt->text.begin()).first - text.begin();
  if (common < before.text.size()) return std::optional<int64_t>();
  return static_cast<int64_t>(common);
}

// Where the turn of message i ends in `text`, which has `count` messages; none as below.
std::optional<int64_t> TurnEnd(absl::string_view text, size_t i, size_t count,
                               const RenderPrefix& render) {
  if (i + 1 == count) return static_cast<int64_t>(text.size());
  const absl::StatusOr<jinja::Rendered> through = render(i + 1, false);
  if (!through.ok() || !absl::StartsWith(text, through->text)) return std::nullopt;
  return static_cast<int64_t>(through->text.size());
}

// The span of message i in `text`; none where a prefix is not one.
absl::StatusOr<std::optional<Span>> TurnSpan(absl::string_view text, size_t i, size_t count,
                                             const RenderPrefix& render,
                                             const SpecialTokens& special) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> begin, TurnBegin(text, i, render));
  if (!begin.has_value()) return std::optional<Span>();
  const std::optional<int64_t> end = TurnEnd(text, i, count, render);
  if (!end.has_value() || *end < *begin) return std::optional<Span>();
  return Span(*begin, special.TurnEnd(text, *begin, *end));
}

// {% generation %} blocks, one per assistant message or all of them trained. A special token right
// behind a block is the turn's end, which belongs to it.
std::optional<std::vector<Span>> BlockSpans(const jinja::Rendered& whole, const ChatExample& chat,
                                            const std::vector<size_t>& assistants,
                                            const SpecialTokens& special) {
  if (whole.generation_spans.empty() || whole.spans_lost) return std::nullopt;
  const bool paired = whole.generation_spans.size() == assistants.size();
  const bool all_trained =
      std::all_of(assistants.begin(), assistants.end(), [&](size_t i) { return chat.trained[i]; });
  if (!paired && !all_trained) return std::nullopt;
  std::vector<Span> out;
  for (size_t k = 0; k < whole.generation_spans.size(); ++k) {
    if (paired && !chat.trained[assistants[k]]) continue;
    const auto [begin, end] = whole.generation_spans[k];
    // What follows a block that does not close its turn itself may do it.
    const bool open = !special.ClosingToken(whole.text, begin, end).has_value() &&
                      end < static_cast<int64_t>(whole.text.size());
    const int64_t more = open ? static_cast<int64_t>(special.LengthAt(whole.text, end)) : 0;
    out.emplace_back(begin, more > 0 ? end + more : special.TurnEnd(whole.text, begin, end));
  }
  return out;
}

absl::StatusOr<SpannedText> OneTurn(size_t i, const RenderPrefix& render,
                                    const SpecialTokens& special, absl::string_view where) {
  ASSIGN_OR_RETURN(const jinja::Rendered whole, render(i + 1, false));
  ASSIGN_OR_RETURN(const std::optional<Span> span, TurnSpan(whole.text, i, i + 1, render, special));
  if (!span.has_value()) {
    return UserError(where,
                     absl::StrCat("the chat template gives message ", i,
                                  " another beginning than its generation prompt: what the model "
                                  "would learn cannot be told from the prompt"),
                     "use a template with {% generation %} blocks (--chat_template)");
  }
  return SpannedText{whole.text, {*span}, kHistoryRewritten};
}

}  // namespace

absl::StatusOr<std::vector<SpannedText>> FindChatSpans(const ChatExample& chat,
                                                       const RenderPrefix& render,
                                                       const SpecialTokens& special,
                                                       History history, absl::string_view where) {
  const std::vector<size_t> assistants = AssistantMessages(chat);
  const size_t count = chat.messages.items().size();
  ASSIGN_OR_RETURN(jinja::Rendered whole, render(count, false));
  if (auto blocks = BlockSpans(whole, chat, assistants, special)) {
    return std::vector<SpannedText>{{std::move(whole.text), *std::move(blocks), 0}};
  }
  SpannedText stable;
  std::vector<size_t> trained;
  bool rewritten = false;
  for (const size_t i : assistants) {
    if (!chat.trained[i]) continue;
    trained.push_back(i);
    if (rewritten) continue;
    ASSIGN_OR_RETURN(const std::optional<Span> span,
                     TurnSpan(whole.text, i, count, render, special));
    if (span.has_value()) {
      stable.spans.push_back(*span);
    } else {
      rewritten = true;
    }
  }
  if (!rewritten) {
    stable.text = std::move(whole.text);
    return std::vector<SpannedText>{std::move(stable)};
  }
  if (history == History::kStrict) {
    return UserError(where,
                     "the chat template rewrites earlier turns (the text up to a turn is no prefix "
                     "of the whole), and --history=strict refuses that",
                     "--history=per_turn trains every turn on its own context, "
                     "--history=last_turn the last one");
  }
  if (history == History::kLastTurn) trained = {trained.back()};
  std::vector<SpannedText> out;
  for (const size_t i : trained) {
    ASSIGN_OR_RETURN(SpannedText turn, OneTurn(i, render, special, where));
    out.push_back(std::move(turn));
  }
  return out;
}

}  // namespace lockstep::data
