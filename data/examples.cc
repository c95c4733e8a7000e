#include "data/examples.h"

#include <algorithm>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "data/chat_formats.h"
#include "data/columns.h"
#include "data/jinja/json.h"
#include "data/jinja/repr.h"

namespace lockstep::data {

namespace {

using jinja::Value;
using Content = decltype(Example::content);

struct FormatKeys {
  Format format;
  absl::string_view name;
  std::vector<absl::string_view> required;
  std::vector<absl::string_view> optional;
};

// In the order in which they are recognized.
const std::vector<FormatKeys>& Formats() {
  static const auto& formats = *new std::vector<FormatKeys>{
      {Format::kMessages, "messages", {"messages"}, {"tools", "chat_template_kwargs"}},
      {Format::kShareGpt, "sharegpt", {"conversations"}, {"system", "tools"}},
      {Format::kPromptCompletion,
       "prompt_completion",
       {"prompt", "completion"},
       {"tools", "chat_template_kwargs"}},
      {Format::kAlpaca, "alpaca", {"instruction", "output"}, {"input", "system", "history"}},
      {Format::kQuestionAnswer, "question_answer", {"question", "answer"}, {}},
      {Format::kTokens, "tokens", {"input_ids"}, {"labels", "attention_mask"}},
      {Format::kText, "text", {"text"}, {}},
  };
  return formats;
}

const FormatKeys& KeysOf(Format format) {
  return *std::find_if(Formats().begin(), Formats().end(),
                       [&](const FormatKeys& keys) { return keys.format == format; });
}

std::string Place(const SourcePosition& source) {
  return absl::StrCat(source.file, ":", source.line);
}

bool Fits(const FormatKeys& keys, const Value& document) {
  return std::all_of(keys.required.begin(), keys.required.end(),
                     [&](absl::string_view key) { return document.Find(key) != nullptr; });
}

const FormatKeys* FirstFit(const Value& document) {
  for (const FormatKeys& keys : Formats()) {
    if (Fits(keys, document)) return &keys;
  }
  return nullptr;
}

std::string KeyList(const Value& document) {
  std::vector<std::string> names;
  for (const auto& [name, value] : document.dict().items) {
    names.push_back(names.size() < 10 ? name.str() : "…");
    if (names.size() > 10) break;
  }
  return names.empty() ? "no key at all" : absl::StrJoin(names, ", ");
}

absl::StatusOr<Value> ReadDocument(absl::string_view json, const SourcePosition& source) {
  if (absl::StripAsciiWhitespace(json) == "{") {
    return UserError(Place(source), "want a whole JSON object on this line, got its first bracket",
                     "jq -c . FILE makes one line of each object; an array may have many lines");
  }
  const absl::StatusOr<Value> parsed = jinja::ParseJson(json, {.refuse_duplicate_keys = true});
  if (!parsed.ok()) {
    const bool is_object = absl::StartsWith(absl::StripAsciiWhitespace(json), "{");
    return UserError(Place(source),
                     absl::StrCat("this is no valid JSON: ", parsed.status().message()),
                     is_object ? ""
                               : "want JSONL, an object on each line, or one JSON array; the name "
                                 "of a file of plain text ends in .txt");
  }
  if (!parsed->is_dict()) {
    return UserError(Place(source),
                     absl::StrCat("want a JSON object, got ", jinja::JsonTypeName(*parsed)));
  }
  return *parsed;
}

absl::StatusOr<std::string> ReadString(const Value& document, absl::string_view key,
                                       const std::string& where) {
  const Value& value = *document.Find(key);
  if (value.is_string()) return value.str();
  return UserError(where, absl::StrCat(key, ": want a string, got ", jinja::JsonTypeName(value)));
}

// Missing or null: "".
absl::StatusOr<std::string> ReadOptionalString(const Value& document, absl::string_view key,
                                               const std::string& where) {
  const Value* value = document.Find(key);
  if (value == nullptr || value->is_none()) return std::string();
  return ReadString(document, key, where);
}

absl::Status ReadChatOptions(const Value& document, const std::string& where, ChatExample* chat) {
  ASSIGN_OR_RETURN(chat->tools, ReadTools(document.Find("tools"), where));
  const Value* variables = document.Find("chat_template_kwargs");
  if (variables == nullptr || variables->is_none()) return absl::OkStatus();
  if (!variables->is_dict()) return UserError(where, "chat_template_kwargs: want an object");
  chat->template_variables = *variables;
  return absl::OkStatus();
}

absl::StatusOr<ChatExample> ReadChat(const Value& document, const std::string& where) {
  ASSIGN_OR_RETURN(ChatExample chat, ReadMessages(*document.Find("messages"), where, "messages"));
  RETURN_IF_ERROR(ReadChatOptions(document, where, &chat));
  return chat;
}

absl::StatusOr<ChatExample> ReadShareGptChat(const Value& document, const std::string& where) {
  ASSIGN_OR_RETURN(ChatExample chat, ReadShareGpt(*document.Find("conversations"), where));
  ASSIGN_OR_RETURN(chat.tools, ReadTools(document.Find("tools"), where));
  ASSIGN_OR_RETURN(const std::string system, ReadOptionalString(document, "system", where));
  AddSystemPrompt(system, &chat);
  return chat;
}

absl::StatusOr<ChatExample> ReadPromptMessages(const Value& document, const std::string& where) {
  ASSIGN_OR_RETURN(ChatExample chat, ReadMessages(*document.Find("prompt"), where, "prompt"));
  ASSIGN_OR_RETURN(const ChatExample completion,
                   ReadMessages(*document.Find("completion"), where, "completion"));
  std::vector<Value> messages = chat.messages.items();
  chat.trained.assign(messages.size(), false);
  const std::vector<Value>& more = completion.messages.items();
  messages.insert(messages.end(), more.begin(), more.end());
  chat.trained.insert(chat.trained.end(), completion.trained.begin(), completion.trained.end());
  chat.messages = Value::List(std::move(messages));
  RETURN_IF_ERROR(ReadChatOptions(document, where, &chat));
  return chat;
}

absl::StatusOr<Content> ReadPromptCompletion(const Value& document, const std::string& where) {
  const bool lists = document.Find("prompt")->is_list();
  if (lists != document.Find("completion")->is_list()) {
    return UserError(where, "prompt and completion: want two strings or two lists of messages");
  }
  if (lists) return ReadPromptMessages(document, where);
  PairExample pair;
  ASSIGN_OR_RETURN(pair.prompt, ReadString(document, "prompt", where));
  ASSIGN_OR_RETURN(pair.completion, ReadString(document, "completion", where));
  return pair;
}

TurnExample MakeTurn(std::vector<std::pair<std::string, std::string>> before, std::string prompt,
                     std::string completion) {
  before.emplace_back("user", prompt);
  before.emplace_back("assistant", completion);
  TurnExample out;
  out.chat = MakeChat(before);
  out.pair = {std::move(prompt), std::move(completion)};
  return out;
}

absl::StatusOr<TurnExample> ReadAlpaca(const Value& document, const std::string& where) {
  ASSIGN_OR_RETURN(std::string prompt, ReadString(document, "instruction", where));
  ASSIGN_OR_RETURN(const std::string input, ReadOptionalString(document, "input", where));
  ASSIGN_OR_RETURN(std::string output, ReadString(document, "output", where));
  ASSIGN_OR_RETURN(const std::string system, ReadOptionalString(document, "system", where));
  if (!input.empty()) absl::StrAppend(&prompt, prompt.empty() ? "" : "\n\n", input);
  std::vector<std::pair<std::string, std::string>> before;
  if (!system.empty()) before.emplace_back("system", system);
  const Value* history = document.Find("history");
  if (history != nullptr && !history->is_none()) {
    if (!history->is_list()) return UserError(where, "history: want a list of pairs of strings");
    for (const Value& pair : history->items()) {
      const bool fits = pair.is_list() && pair.items().size() == 2 && pair.items()[0].is_string() &&
                        pair.items()[1].is_string();
      if (!fits) return UserError(where, "history: want a list of pairs of strings");
      before.emplace_back("user", pair.items()[0].str());
      before.emplace_back("assistant", pair.items()[1].str());
    }
  }
  return MakeTurn(std::move(before), std::move(prompt), std::move(output));
}

absl::StatusOr<TurnExample> ReadQuestionAnswer(const Value& document, const std::string& where) {
  ASSIGN_OR_RETURN(std::string question, ReadString(document, "question", where));
  ASSIGN_OR_RETURN(std::string answer, ReadString(document, "answer", where));
  return MakeTurn({}, std::move(question), std::move(answer));
}

// Which tokens an attention_mask leaves: those between the padding at the beginning and at the end.
absl::StatusOr<std::pair<size_t, size_t>> UnpaddedTokens(const Value& document, size_t count,
                                                         const std::string& where) {
  const Value* mask = document.Find("attention_mask");
  if (mask == nullptr || mask->is_none()) return std::make_pair(size_t{0}, count);
  if (!mask->is_list() || mask->items().size() != count) {
    return UserError(where,
                     absl::StrCat("attention_mask: want a list of ", count, " zeros or ones"));
  }
  const std::vector<Value>& items = mask->items();
  const auto is = [&](int64_t wanted) {
    return [wanted](const Value& v) { return v.is_int() && v.integer() == wanted; };
  };
  const auto begin = std::find_if(items.begin(), items.end(), is(1));
  const auto end = std::find_if_not(begin, items.end(), is(1));
  if (!std::all_of(items.begin(), begin, is(0)) || !std::all_of(end, items.end(), is(0))) {
    return UserError(where, "attention_mask: want ones, with zeros before and behind them alone",
                     "padding is left out; a token that others do not see has no place here");
  }
  return std::make_pair(static_cast<size_t>(begin - items.begin()),
                        static_cast<size_t>(end - items.begin()));
}

absl::StatusOr<TokensExample> ReadTokens(const Value& document, const std::string& where) {
  const Value& ids = *document.Find("input_ids");
  const Value* labels = document.Find("labels");
  if (labels != nullptr && labels->is_none()) labels = nullptr;
  if (!ids.is_list() || (labels != nullptr && !labels->is_list())) {
    return UserError(where, "input_ids and labels: want lists of integers");
  }
  if (labels != nullptr && labels->items().size() != ids.items().size()) {
    return UserError(where, absl::StrCat("labels: want as many as input_ids (", ids.items().size(),
                                         "), got ", labels->items().size()));
  }
  ASSIGN_OR_RETURN(const auto unpadded, UnpaddedTokens(document, ids.items().size(), where));
  TokensExample out;
  for (size_t i = unpadded.first; i < unpadded.second; ++i) {
    const Value& id = ids.items()[i];
    if (!id.is_int() || id.integer() < 0 || id.integer() > std::numeric_limits<int32_t>::max()) {
      return UserError(where,
                       absl::StrCat("input_ids[", i, "]: want a token id, got ", jinja::Repr(id)));
    }
    bool supervised = true;
    if (labels != nullptr) {
      const Value& label = labels->items()[i];
      supervised = !(label.is_int() && label.integer() == -100);
      if (supervised && !Equal(label, id)) {
        return UserError(where,
                         absl::StrCat("labels[", i, "]: want -100 or the token's own id ",
                                      jinja::Repr(id), ", got ", jinja::Repr(label)),
                         "label i is the target of token i: labels are not shifted");
      }
    }
    out.input_ids.push_back(static_cast<int32_t>(id.integer()));
    out.supervised.push_back(supervised && i > unpadded.first);
  }
  return out;
}

absl::StatusOr<Content> ReadContent(const Value& document, Format format,
                                    const std::string& where) {
  switch (format) {
    case Format::kMessages:
      return ReadChat(document, where);
    case Format::kShareGpt:
      return ReadShareGptChat(document, where);
    case Format::kPromptCompletion:
      return ReadPromptCompletion(document, where);
    case Format::kAlpaca:
      return ReadAlpaca(document, where);
    case Format::kQuestionAnswer:
      return ReadQuestionAnswer(document, where);
    case Format::kTokens:
      return ReadTokens(document, where);
    case Format::kText:
      break;
  }
  ASSIGN_OR_RETURN(std::string text, ReadString(document, "text", where));
  return TextExample{std::move(text)};
}

// Of what may be rendered by a chat template.
void AddSystemPromptTo(Content& content, const std::string& prompt) {
  if (auto* const chat = std::get_if<ChatExample>(&content)) AddSystemPrompt(prompt, chat);
  if (auto* const turn = std::get_if<TurnExample>(&content)) AddSystemPrompt(prompt, &turn->chat);
}

}  // namespace

absl::string_view FormatName(Format format) { return KeysOf(format).name; }

absl::StatusOr<Format> FormatFromName(absl::string_view name) {
  std::vector<absl::string_view> names;
  for (const FormatKeys& keys : Formats()) {
    if (keys.name == name) return keys.format;
    names.push_back(keys.name);
  }
  return UserError("--format",
                   absl::StrCat("want one of ", absl::StrJoin(names, ", "), ", got ", name),
                   "without it the format is recognized by the keys");
}

absl::StatusOr<Format> RecognizeFormat(absl::string_view json, const SourcePosition& source,
                                       const ExampleOptions& options) {
  ASSIGN_OR_RETURN(const Value read, ReadDocument(json, source));
  const Value document = Renamed(read, options.columns);
  if (options.format.has_value()) return *options.format;
  if (const FormatKeys* keys = FirstFit(document)) return keys->format;
  return UserError(Place(source),
                   absl::StrCat("no known format has these keys: ", KeyList(document)),
                   options.columns.empty()
                       ? "name them with --columns=ours:theirs, for example "
                         "--columns=prompt:question,completion:answer"
                       : "what --columns names is not there, and a key that already has the name "
                         "of ours does not count beside it");
}

absl::StatusOr<Example> ParseExample(absl::string_view json, Format format,
                                     const SourcePosition& source, const ExampleOptions& options) {
  ASSIGN_OR_RETURN(const Value read, ReadDocument(json, source));
  const Value document = Renamed(read, options.columns);
  const std::string where = Place(source);
  const FormatKeys& keys = KeysOf(format);
  const FormatKeys* fit = FirstFit(document);
  if (!options.format.has_value() && fit != nullptr && fit->format != format) {
    return UserError(
        where,
        absl::StrCat("mixed file: this document is ", fit->name, ", the file began as ", keys.name),
        "put the formats into files of their own, or decide with --format");
  }
  if (!Fits(keys, document)) {
    return UserError(where,
                     absl::StrCat("want the keys ", absl::StrJoin(keys.required, ", "), " (",
                                  keys.name, "), got ", KeyList(document)),
                     "--columns=ours:theirs reads other names; --format decides for all files; "
                     "--skip_bad_documents leaves out single documents");
  }
  Example out;
  out.format = format;
  out.source = source;
  ASSIGN_OR_RETURN(out.content, ReadContent(document, format, where));
  AddSystemPromptTo(out.content, options.system_prompt);
  for (const auto& [name, value] : document.dict().items) {
    const auto known = [&, n = &name](const std::vector<absl::string_view>& names) {
      return std::find(names.begin(), names.end(), n->str()) != names.end();
    };
    if (!known(keys.required) && !known(keys.optional)) out.ignored_keys.push_back(name.str());
  }
  if (options.columns.empty()) return out;
  for (const auto& [name, value] : read.dict().items) out.keys.push_back(name.str());
  return out;
}

absl::StatusOr<Example> TextDocument(absl::string_view text, const SourcePosition& source) {
  if (const size_t zero = text.find('\0'); zero != text.npos) {
    return UserError(
        Place(source),
        absl::StrCat("byte ", zero + 1, " of this text is zero, as in UTF-16: want UTF-8"),
        "convert the file: iconv -f UTF-16 -t UTF-8");
  }
  Example out;
  out.format = Format::kText;
  out.source = source;
  out.content = TextExample{std::string(text)};
  return out;
}

}  // namespace lockstep::data
