#include "data/chat_spans.h"

#include <algorithm>
#include <optional>

#include "absl/strings/ascii.h"
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

// What stands in place of an answer to see what the template puts around it.
constexpr char kStandIn[] = "\x01";

// Where the turns of one chat stand in its text.
class TurnFinder {
 public:
  TurnFinder(const ChatExample& chat, const MessageRenderer& renderer, const SpecialTokens& special)
      : messages_(chat.messages.items()), renderer_(renderer), special_(special) {}

  // Messages [0, count).
  absl::StatusOr<jinja::Rendered> Render(size_t count) const {
    return renderer_.render({messages_.begin(), messages_.begin() + count},
                            /*add_generation_prompt=*/false);
  }
  // And what asks the assistant for the next one.
  absl::StatusOr<jinja::Rendered> RenderPrompt(size_t count) const {
    return renderer_.render({messages_.begin(), messages_.begin() + count},
                            /*add_generation_prompt=*/true);
  }

  // The span of assistant message i in `text`, which has `count` messages. None if the template
  // rewrites it in what follows, or its beginning cannot be told from the prompt.
  std::optional<Span> Find(absl::string_view text, size_t i, size_t count) const {
    std::string through(text);
    if (i + 1 < count) {
      absl::StatusOr<jinja::Rendered> rendered = Render(i + 1);
      if (!rendered.ok()) return std::nullopt;
      through = std::move(rendered->text);
    }
    const std::optional<Span> span =
        renderer_.has_generation_prompt ? BehindPrompt(through, i) : InPlace(through, i);
    if (!span.has_value() || span->second < span->first) return std::nullopt;
    if (absl::StartsWith(text, through.substr(0, span->second))) return span;
    const std::optional<int64_t> end = EndOfTurnWithin(text, through, *span);
    return end.has_value() ? std::make_optional(Span(span->first, *end)) : std::nullopt;
  }

  // The span of the last message of `through`, messages up to i: what changes with its content. A
  // space before it is the answer's own: tokens begin with it. None if nothing changes.
  std::optional<Span> FindInPlace(const std::string& through, size_t i) const {
    const std::optional<Span> span = InPlace(through, i);
    return span.has_value() && span->first < span->second ? span : std::nullopt;
  }

 private:
  // Some templates put an eos_token behind a whole conversation, but behind no turn within it. Then
  // the turn ends with the special token before that, up to which `text` goes on as `through` does.
  std::optional<int64_t> EndOfTurnWithin(absl::string_view text, absl::string_view through,
                                         const Span& span) const {
    const auto [begin, end] = span;
    int64_t shared = static_cast<int64_t>(CommonPrefix(text, through));
    for (int64_t at = begin; at < shared; ++at) {
      if (at + static_cast<int64_t>(special_.LengthAt(through, at)) > shared) shared = at;
    }
    if (shared < begin) return std::nullopt;
    const std::optional<int64_t> closing = special_.ClosingToken(through, begin, shared);
    if (!closing.has_value()) return std::nullopt;
    for (int64_t at = *closing; at < end;) {
      const size_t token = special_.LengthAt(through, at);
      if (token == 0 && !absl::ascii_isspace(through[at])) return std::nullopt;
      at += std::max<int64_t>(static_cast<int64_t>(token), 1);
    }
    return closing;
  }

  // `through` has the messages up to i, whose turn begins where the generation prompt ends. That
  // prompt may hold more than the turn has (an opened <think>): then the two part inside it, and
  // the turn begins there.
  std::optional<Span> BehindPrompt(const std::string& through, size_t i) const {
    const absl::StatusOr<jinja::Rendered> prompt = RenderPrompt(i);
    // A template may refuse a conversation that is cut here, before its first user message.
    if (!prompt.ok()) return InPlace(through, i);
    size_t begin = CommonPrefix(through, prompt->text);
    if (begin < prompt->text.size()) {
      const absl::StatusOr<jinja::Rendered> before = Render(i);
      if (!before.ok() || !absl::StartsWith(through, before->text)) return std::nullopt;
      const size_t first = before->text.size();
      const size_t mark = first < through.size() ? special_.LengthAt(through, first) : 0;
      // They part at once: a conversation's first message has BOS before it.
      if (begin <= first || begin < first + mark) return InPlace(through, i);
    }
    return Span(begin, special_.TurnEnd(through, begin, through.size()));
  }

  std::optional<Span> InPlace(const std::string& through, size_t i) const {
    std::vector<jinja::Value> messages(messages_.begin(), messages_.begin() + i);
    messages.push_back(StandIn(messages_[i]));
    const absl::StatusOr<jinja::Rendered> other =
        renderer_.render(std::move(messages), /*add_generation_prompt=*/false);
    if (!other.ok()) return std::nullopt;
    size_t begin = CommonPrefix(through, other->text);
    const absl::string_view rest = absl::string_view(through).substr(begin);
    const auto [tail, unused] =
        std::mismatch(rest.rbegin(), rest.rend(), other->text.rbegin(), other->text.rend());
    while (begin > 0 && through[begin - 1] == ' ') --begin;
    // Some templates go on behind the end of the turn, with the next one's header.
    const size_t end =
        through.find_first_not_of(" \t\r\n", through.size() - (tail - rest.rbegin()));
    const size_t closing = end == std::string::npos ? 0 : special_.LengthAt(through, end);
    return Span(begin,
                closing > 0 ? end + closing : special_.TurnEnd(through, begin, through.size()));
  }

  static size_t CommonPrefix(absl::string_view a, absl::string_view b) {
    return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
  }

  // An assistant's message of which nothing but the kind of content is that of `message`.
  static jinja::Value StandIn(const jinja::Value& message) {
    using jinja::Value;
    const auto text = [](const char* s) { return Value::String(s); };
    const Value* content = message.Find("content");
    const bool in_parts = content != nullptr && content->is_list();
    const Value part = Value::Dict({{text("type"), text("text")}, {text("text"), text(kStandIn)}});
    return Value::Dict({{text("role"), text("assistant")},
                        {text("content"), in_parts ? Value::List({part}) : text(kStandIn)}});
  }

  const std::vector<jinja::Value>& messages_;
  const MessageRenderer& renderer_;
  const SpecialTokens& special_;
};

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

absl::StatusOr<SpannedText> OneTurn(size_t i, const TurnFinder& finder, absl::string_view where) {
  ASSIGN_OR_RETURN(const jinja::Rendered whole, finder.Render(i + 1));
  std::optional<Span> span = finder.Find(whole.text, i, i + 1);
  if (!span.has_value()) span = finder.FindInPlace(whole.text, i);
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
                                                       const MessageRenderer& renderer,
                                                       const SpecialTokens& special,
                                                       History history, absl::string_view where) {
  const std::vector<size_t> assistants = AssistantMessages(chat);
  const size_t count = chat.messages.items().size();
  const TurnFinder finder(chat, renderer, special);
  ASSIGN_OR_RETURN(jinja::Rendered whole, finder.Render(count));
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
    const std::optional<Span> span = finder.Find(whole.text, i, count);
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
    ASSIGN_OR_RETURN(SpannedText turn, OneTurn(i, finder, where));
    out.push_back(std::move(turn));
  }
  return out;
}

}  // namespace lockstep::data
