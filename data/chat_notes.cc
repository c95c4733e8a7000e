#include "data/chat_notes.h"

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "data/encode.h"
#include "data/jinja/text.h"

namespace lockstep::data {
namespace {

using jinja::Value;

// System messages, then user and assistant in turn; tools' results behind an assistant's call.
bool TakesTurns(const std::vector<Value>& messages) {
  absl::string_view before = "system";
  for (const Value& message : messages) {
    const absl::string_view role = message.Find("role")->str();
    const bool is_system = role == "system" || role == "developer";
    const bool fits = is_system        ? before == "system"
                      : role == "user" ? before == "system" || before == "assistant"
                      : role == "assistant"
                          ? before == "user" || before == "tool"
                          : role == "tool" && (before == "assistant" || before == "tool");
    if (!fits) return false;
    before = is_system ? "system" : role;
  }
  return true;
}

bool IsInAny(const std::vector<SpannedText>& texts, absl::string_view words) {
  return std::any_of(texts.begin(), texts.end(),
                     [&](const SpannedText& text) { return absl::StrContains(text.text, words); });
}

bool IsLearned(const std::vector<SpannedText>& texts, absl::string_view words) {
  return std::any_of(texts.begin(), texts.end(), [&](const SpannedText& text) {
    return std::any_of(text.spans.begin(), text.spans.end(), [&](const auto& span) {
      return absl::StrContains(
          absl::string_view(text.text).substr(span.first, span.second - span.first), words);
    });
  });
}

// The functions that a message calls: {name, arguments}. function_call is OpenAI's older form.
std::vector<Value> CallsOf(const Value& message) {
  std::vector<Value> out;
  if (const Value* calls = message.Find("tool_calls"); calls != nullptr && calls->is_list()) {
    for (const Value& call : calls->items()) {
      const Value* function = call.Find("function");
      out.push_back(function != nullptr && function->is_dict() ? *function : call);
    }
  }
  const Value* older = message.Find("function_call");
  if (older != nullptr && older->is_dict()) out.push_back(*older);
  return out;
}

// True if a function that is called has a name that is learned nowhere (the list of tools has it
// too).
bool LosesCall(const std::vector<Value>& calls, const std::vector<SpannedText>& texts) {
  return std::any_of(calls.begin(), calls.end(), [&](const Value& call) {
    const Value* name = call.Find("name");
    return name != nullptr && name->is_string() && !IsLearned(texts, name->str());
  });
}

// The text of `content`, or the texts of its parts.
std::vector<absl::string_view> TextsOf(const Value* content) {
  if (content == nullptr) return {};
  if (content->is_string()) return {content->str()};
  std::vector<absl::string_view> out;
  if (!content->is_list()) return out;
  for (const Value& part : content->items()) {
    const Value* text = part.is_string() ? &part : part.Find("text");
    if (text != nullptr && text->is_string()) out.push_back(text->str());
  }
  return out;
}

// True if there is no content, or text of nothing but white space.
bool IsSilent(const Value* content) {
  if (content == nullptr || content->is_none()) return true;
  const std::vector<absl::string_view> texts = TextsOf(content);
  const bool is_text = content->is_string() || texts.size() == content->items().size();
  return is_text && std::all_of(texts.begin(), texts.end(), [](absl::string_view text) {
           return jinja::StripSpace(text, jinja::kBoth).empty();
         });
}

// True if a string anywhere in `value` holds a special token's text.
bool HoldsSpecialToken(const Value& value, const SpecialTokens& special) {
  if (value.is_string()) return special.Occurs(value.str());
  const auto holds = [&](const Value& part) { return HoldsSpecialToken(part, special); };
  if (value.is_list()) return std::any_of(value.items().begin(), value.items().end(), holds);
  if (!value.is_dict()) return false;
  const auto& items = value.dict().items;
  return std::any_of(items.begin(), items.end(),
                     [&](const auto& item) { return holds(item.first) || holds(item.second); });
}

// True if `content` says something and no run of it is in any of the texts. Runs end where a
// template may trim, cut off what was thought, or quote as JSON.
bool LosesText(const Value* content, const std::vector<SpannedText>& texts) {
  bool says = false;
  for (const absl::string_view text : TextsOf(content)) {
    for (absl::string_view run : absl::StrSplit(text, absl::ByAnyChar("\"\\<>&'\t\r\n"))) {
      run = absl::StripAsciiWhitespace(run);
      if (run.empty()) continue;
      if (IsInAny(texts, run)) return false;
      says = true;
    }
  }
  return says;
}

// What comes behind the last trained message may be missing: nothing is learned from it.
size_t EndOfTrained(const ChatExample& chat) {
  const std::vector<Value>& messages = chat.messages.items();
  for (size_t i = messages.size(); i > 0; --i) {
    if (chat.trained[i - 1] && messages[i - 1].Find("role")->str() == "assistant") return i;
  }
  return messages.size();
}

}  // namespace

uint32_t ChatNotes(const ChatExample& chat, const std::vector<SpannedText>& texts,
                   const SpecialTokens& special) {
  const std::vector<Value>& messages = chat.messages.items();
  uint32_t notes = 0;
  if (!TakesTurns(messages)) notes |= kRoleOrder;
  if (HoldsSpecialToken(chat.tools, special)) notes |= kSpecialInContent;
  const size_t end = EndOfTrained(chat);
  const bool last_turn_alone = texts.size() == 1 && (texts[0].notes & kHistoryRewritten) != 0;
  for (size_t i = 0; i < messages.size(); ++i) {
    const bool is_learned = chat.trained[i] && (!last_turn_alone || i + 1 == end);
    const std::vector<Value> calls = CallsOf(messages[i]);
    if (is_learned && LosesCall(calls, texts)) notes |= kToolCallLost;
    const Value* content = messages[i].Find("content");
    if (i < end && LosesText(content, texts)) notes |= kMessageLost;
    // Templates may drop what was thought in earlier turns, as they do at inference.
    const bool is_last = i + 1 == end && i + 1 == messages.size();
    if (is_last && LosesText(messages[i].Find("reasoning_content"), texts)) notes |= kMessageLost;
    if (HoldsSpecialToken(messages[i], special)) notes |= kSpecialInContent;
    const bool assistant = messages[i].Find("role")->str() == "assistant";
    if (assistant && chat.trained[i] && IsSilent(content) && calls.empty()) notes |= kEmptyAnswer;
  }
  return notes;
}

}  // namespace lockstep::data
