// Documents of a data file as the user wrote them: the formats, before any template or tokenizer.
//
//   ASSIGN_OR_RETURN(const Format format, RecognizeFormat(first_line, {file, 1}, options));
//   ASSIGN_OR_RETURN(const Example example, ParseExample(line, format, {file, n}, options));
//
//   format             keys                                           becomes
//   messages           messages [{role, content, …}], tools?          ChatExample
//   sharegpt           conversations [{from, value}], system?, tools? ChatExample
//   prompt_completion  prompt, completion: both strings, or lists     PairExample, ChatExample
//   alpaca             instruction, input?, output, system?, history? TurnExample
//   question_answer    question, answer                               TurnExample
//   tokens             input_ids, labels?, attention_mask?            TokensExample
//   text               text                                           TextExample
//
// Where several fit, the first in this list wins. A file has one format, that of its first
// document. Everything here is a pure function and may be called by many threads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/columns.h"
#include "data/jinja/value.h"

namespace lockstep::data {

enum class Format {
  kMessages,
  kShareGpt,
  kPromptCompletion,
  kAlpaca,
  kQuestionAnswer,
  kTokens,
  kText,
};
absl::string_view FormatName(Format format);  // "messages", "sharegpt", … as `--format` has them
absl::StatusOr<Format> FormatFromName(absl::string_view name);

// Where a document was read: line of a JSONL file, or line at which an element of a JSON array or
// a paragraph of a text file begins; from 1.
struct SourcePosition {
  std::string file;
  int64_t line = 0;
  friend bool operator==(const SourcePosition&, const SourcePosition&) = default;
};

struct ExampleOptions {
  std::optional<Format> format;  // --format: instead of recognizing it
  Columns columns;               // --columns: ours, theirs
  std::string system_prompt;     // --system_prompt: put before chats that have no system message
};

// A conversation, normalized to role and content with roles user, assistant, system, tool (and any
// other that `messages` has: the template judges it). Further keys of a message stay as they are:
// tool_calls, reasoning_content, name … Keys that are for us alone (weight, train) are taken out.
struct ChatExample {
  jinja::Value messages;  // list of dicts
  jinja::Value tools;     // list, or None
  // Per message: may its tokens be supervised? false for `"weight": 0`, `"train": false`, and for
  // every message of `prompt` where the document is a prompt and a completion.
  std::vector<bool> trained;
  jinja::Value template_variables;  // dict: the document's own `chat_template_kwargs`; or None
};

struct PairExample {  // joined as they are
  std::string prompt;
  std::string completion;
};

struct TurnExample {  // a user's and an assistant's turn, where the model has a chat template
  ChatExample chat;
  PairExample pair;  // the same for a model without one; joined by the pair template
};

struct TextExample {
  std::string text;
};

struct TokensExample {
  std::vector<int32_t> input_ids;
  std::vector<uint8_t> supervised;  // per token; label −100 is 0, no labels: 1; the first is 0
};

struct Example {
  Format format = Format::kText;
  SourcePosition source;
  std::variant<TextExample, PairExample, TurnExample, ChatExample, TokensExample> content;
  std::vector<std::string> ignored_keys;  // keys that are no part of the format; rarely any
  std::vector<std::string> keys;  // where there are columns: all keys, as the file names them
};

// The format of a file whose first document is `json`. Error: not a JSON object, or none fits
// (names the keys that are there and HINTs at --columns).
absl::StatusOr<Format> RecognizeFormat(absl::string_view json, const SourcePosition& source,
                                       const ExampleOptions& options);

// One document of a file of this format. Errors name file, line and, for broken JSON, the byte:
// broken JSON, invalid UTF-8, a lone surrogate, a duplicate key, a wrong type, a missing key, an
// unknown ShareGPT role, or a document of another format ("mixed file").
absl::StatusOr<Example> ParseExample(absl::string_view json, Format format,
                                     const SourcePosition& source, const ExampleOptions& options);

// A paragraph of a plain text file. Errors: a zero byte. (Invalid UTF-8 is one of the encoder.)
absl::StatusOr<Example> TextDocument(absl::string_view text, const SourcePosition& source);

}  // namespace lockstep::data
