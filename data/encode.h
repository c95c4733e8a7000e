// Examples to tokens: which ids a document has, and which of them are learned.
//
// Supervised of a chat turn: the assistant's text and its end-of-turn token, not the newline that
// a template puts behind it. Their place is found, in this order, by
//   1. {% generation %} blocks, where the template has them;
//   2. rendering prefixes: for an assistant message m, the text with messages 0…m−1 and the
//      generation prompt ends where its turn begins, the text with messages 0…m ends where it ends.
//      Both must be byte prefixes of the whole conversation's text. Where there is no generation
//      prompt, or none for this place (a conversation that the assistant begins), the turn begins
//      and ends where the text changes if the answer is exchanged for another. What a template puts
//      behind a finished conversation alone (an eos_token) is part of its last turn.
// A template that rewrites what came before (Qwen3 drops the thinking of earlier turns) fails the
// check of 2. `History` says what happens then.
//
// Content in parts, [{"type": "text", "text": …}], reaches a template as it is if the template
// renders a part as it does a string, else joined to one. Tool calls and content that is null come
// in the first form that the template renders without an error, and without printing None or null
// for it (data/message_forms.h).
//
// Tokens are assigned by the byte offsets that the tokenizer gives: a token is supervised if it
// begins inside a supervised span. The whole document is tokenized at once, never turn by turn, so
// that its ids are those of the text.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/examples.h"

namespace lockstep::data {

class Tokenizer;
struct TokenizerConfig;

enum class LossOn { kDefault, kAssistant, kCompletion, kAll };

// What becomes of a conversation whose template rewrites earlier turns.
enum class History {
  kPerTurn,   // one document per trained assistant turn: its context as it is at inference
  kLastTurn,  // only the last assistant turn is supervised
  kStrict,    // refused
};

struct EncodeOptions {
  // kDefault: the assistant of chats, the completion of pairs, all of texts. kAll supervises every
  // token but the first of a document (labels of tokenized documents still hold).
  LossOn loss_on = LossOn::kDefault;
  History history = History::kPerTurn;
  // Jinja source or "chatml"; empty: the model's own, for chats with tools the one named "tool_use"
  // if it has that.
  std::string chat_template;
  std::string pair_template = "{prompt}\n{completion}";
  bool append_eos = true;  // after plain text
  // Ends texts and pairs where the tokenizer's own config names no eos_token: the model's.
  std::optional<int32_t> eos_token_id;
  std::string template_date;        // strftime_now: "YYYY-MM-DD" or "YYYY-MM-DDTHH:MM:SS"
  jinja::Value template_variables;  // --chat_template_kwargs: a dict, or None
  int64_t vocab_size = 0;           // of the model: ids of tokenized documents are below it; 0: any
};

// Remarks about one document, for the doctor; bits of EncodedDocument::notes.
enum Note : uint32_t {
  kHistoryRewritten = 1u << 0,  // the template rewrites earlier turns; see History
  kBoundaryMerged = 1u << 1,    // a token reaches over the beginning or end of a supervised span
  kNoEndOfTurn = 1u << 2,       // a trained turn or text ends without a special token
  kSpecialInContent = 1u << 3,  // a message or tool holds the text of a special token
  kEmptyAnswer = 1u << 4,       // a trained assistant message has no text
  kRoleOrder = 1u << 5,         // roles do not take turns: user, assistant, user, …
  kToolCallLost = 1u << 6,      // the template leaves out a trained tool call
  kMessageLost = 1u << 7,       // the template leaves out what a message says
};

struct EncodedDocument {
  std::vector<int32_t> input_ids;
  std::vector<uint8_t> supervised;  // 1: this token is a target; same length; the first is 0
  uint32_t notes = 0;
};

// Immutable after Create: Encode may be called by many threads.
class DocumentEncoder {
 public:
  // `tokenizer` may be null if only tokenized documents come; it must outlive the encoder. Errors:
  // a template that does not parse (with its line).
  static absl::StatusOr<std::unique_ptr<const DocumentEncoder>> Create(
      const Tokenizer* tokenizer, const TokenizerConfig& config, EncodeOptions options);
  virtual ~DocumentEncoder() = default;

  // The documents that `example` gives: one, or with History::kPerTurn one per trained turn.
  // Errors name file and line: a template's own exception, a chat without a template, an id
  // outside the vocabulary, text documents without a tokenizer.
  virtual absl::StatusOr<std::vector<EncodedDocument>> Encode(const Example& example) const = 0;

  // The text of a chat as the template renders it, without and with what stands before and behind
  // each assistant turn. For printing.
  virtual absl::StatusOr<std::string> Render(const ChatExample& chat,
                                             bool add_generation_prompt) const = 0;

  // True if there is a chat template (of the model or of the options).
  virtual bool has_chat_template() const = 0;

  // Everything that decides Encode's result besides the tokenizer: part of the cache's key.
  virtual std::string Fingerprint() const = 0;
};

}  // namespace lockstep::data
