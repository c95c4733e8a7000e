#include "data/chat_formats.h"

#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "data/jinja/json.h"
#include "data/jinja/repr.h"

namespace lockstep::data {

namespace {

using jinja::Value;
using Items = std::vector<std::pair<Value, Value>>;

Value Text(absl::string_view text) { return Value::String(std::string(text)); }

// What a message says about its own supervision; none if nothing.
absl::StatusOr<std::optional<bool>> ReadTrained(const Value& message, absl::string_view where) {
  std::optional<bool> trained;
  if (const Value* weight = message.Find("weight"); weight != nullptr && !weight->is_none()) {
    if (!weight->is_number() || (weight->as_double() != 0 && weight->as_double() != 1)) {
      return UserError(where, absl::StrCat("weight: want 0 or 1, got ", jinja::Repr(*weight)));
    }
    trained = weight->as_double() != 0;
  }
  if (const Value* train = message.Find("train"); train != nullptr && !train->is_none()) {
    if (!train->is_bool()) {
      return UserError(where, absl::StrCat("train: want true or false, got ", jinja::Repr(*train)));
    }
    trained = train->boolean();
  }
  if (const Value* parts = message.Find("train_detail"); parts != nullptr && Truthy(*parts)) {
    return UserError(where, "train_detail: want a message that is learned whole or not at all",
                     "axolotl's marks of single letters are not supported: use train or weight");
  }
  return trained;
}

absl::Status CheckContent(const Value* content, absl::string_view where) {
  if (content == nullptr || content->is_none() || content->is_string()) return absl::OkStatus();
  if (content->is_list()) {
    for (const Value& part : content->items()) {
      if (!part.is_dict() && !part.is_string()) {
        return UserError(where, absl::StrCat("a part of content: want an object, got ",
                                             jinja::JsonTypeName(part)));
      }
      const Value* type = part.Find("type");
      for (const char* medium : {"image", "video", "audio"}) {
        if (type == nullptr || !type->is_string() || !absl::StrContains(type->str(), medium)) {
          continue;
        }
        return UserError(where, absl::StrCat("a part of content: want text, got ", type->str()),
                         "models are trained on text alone; --skip_bad_documents leaves these out");
      }
    }
    return absl::OkStatus();
  }
  return UserError(where, absl::StrCat("content: want a string, null or a list of parts, got ",
                                       jinja::JsonTypeName(*content)));
}

absl::Status CheckToolCalls(const Value& calls, absl::string_view where) {
  if (calls.is_none()) return absl::OkStatus();
  if (!calls.is_list()) {
    return UserError(where,
                     absl::StrCat("tool_calls: want a list, got ", jinja::JsonTypeName(calls)));
  }
  for (const Value& call : calls.items()) {
    if (call.is_dict()) continue;
    return UserError(where,
                     absl::StrCat("a tool call: want an object, got ", jinja::JsonTypeName(call)));
  }
  return absl::OkStatus();
}

// Files that have a column for each key (those that datasets writes) hold null where a message has
// none of it; templates that ask whether a key is there take that for a value.
bool SaysNothing(const Value& name, const Value& value) {
  if (name.str() == "tool_calls" && value.is_list() && value.items().empty()) return true;
  return value.is_none() && name.str() != "content";
}

Value WithoutNulls(const Value& value) {
  if (!value.is_dict()) return value;
  Items items;
  for (const auto& [name, inner] : value.dict().items) {
    if (inner.is_none()) continue;
    items.emplace_back(name, name.str() == "function" ? WithoutNulls(inner) : inner);
  }
  return Value::Dict(std::move(items));
}

// A message's parts of content and tool calls have such columns too; a call's arguments are its
// own.
Value WithoutNulls(const Value& name, const Value& value) {
  if (!value.is_list() || (name.str() != "content" && name.str() != "tool_calls")) return value;
  std::vector<Value> out;
  for (const Value& element : value.items()) out.push_back(WithoutNulls(element));
  return Value::List(std::move(out));
}

// The names under which a message's reasoning comes; templates read the first, some the second.
Value WithReasoning(const Value& message) {
  for (const absl::string_view name : {"reasoning_content", "thinking", "reasoning"}) {
    const Value* reasoning = message.Find(name);
    if (reasoning == nullptr || reasoning->is_none()) continue;
    Items items = {{Text("thinking"), *reasoning}};
    const Items& own = message.dict().items;
    items.insert(items.end(), own.begin(), own.end());
    items.emplace_back(Text("reasoning_content"), *reasoning);
    return Value::Dict(std::move(items));
  }
  return message;
}

absl::StatusOr<Value> ReadMessage(const Value& message, absl::string_view where) {
  if (!message.is_dict()) {
    return UserError(where, absl::StrCat("want an object, got ", jinja::JsonTypeName(message)));
  }
  const Value* role = message.Find("role");
  if (role == nullptr || !role->is_string()) {
    return UserError(where, role == nullptr ? "role is missing" : "role: want a string");
  }
  RETURN_IF_ERROR(CheckContent(message.Find("content"), where));
  Items items;
  for (const auto& [name, value] : message.dict().items) {
    if (name.str() == "weight" || name.str() == "train") continue;
    if (name.str() == "tool_calls") RETURN_IF_ERROR(CheckToolCalls(value, where));
    if (!SaysNothing(name, value)) items.emplace_back(name, WithoutNulls(name, value));
  }
  return WithReasoning(Value::Dict(std::move(items)));
}

std::string ShareGptRole(absl::string_view from) {
  constexpr std::pair<absl::string_view, absl::string_view> kRoles[] = {
      {"human", "user"},
      {"user", "user"},
      {"gpt", "assistant"},
      {"assistant", "assistant"},
      {"model", "assistant"},
      {"chatgpt", "assistant"},
      {"bing", "assistant"},
      {"system", "system"},
      {"tool", "tool"},
      {"observation", "tool"},
      {"function", "tool"},
      {"function_response", "tool"},
      {"function_call", "tool_call"},
      {"tool_call", "tool_call"}};
  for (const auto& [theirs, ours] : kRoles) {
    if (from == theirs) return std::string(ours);
  }
  return "";
}

// {"name", "arguments"} or a list of them, as JSON in a string: an assistant's tool calls.
absl::StatusOr<Value> ToolCallMessage(const Value& value, absl::string_view where) {
  const absl::StatusOr<Value> parsed = jinja::ParseJson(value.str());
  if (!parsed.ok() || (!parsed->is_dict() && !parsed->is_list())) {
    return UserError(where, "a tool call's value: want JSON with name and arguments");
  }
  std::vector<Value> calls;
  for (const Value& call : parsed->is_list() ? parsed->items() : std::vector<Value>{*parsed}) {
    if (!call.is_dict() || call.Find("name") == nullptr) {
      return UserError(where, "a tool call's value: want JSON with name and arguments");
    }
    calls.push_back(Value::Dict({{Text("type"), Text("function")}, {Text("function"), call}}));
  }
  return ReadMessage(Value::Dict({{Text("role"), Text("assistant")},
                                  {Text("content"), Value::None()},
                                  {Text("tool_calls"), Value::List(std::move(calls))}}),
                     where);
}

}  // namespace

absl::StatusOr<ChatExample> ReadMessages(const Value& messages, absl::string_view where,
                                         absl::string_view key) {
  if (!messages.is_list()) {
    return UserError(
        where, absl::StrCat(key, ": want a list of messages, got ", jinja::JsonTypeName(messages)));
  }
  if (messages.items().empty()) return UserError(where, absl::StrCat(key, " is empty"));
  ChatExample out;
  std::vector<Value> read;
  for (size_t i = 0; i < messages.items().size(); ++i) {
    const std::string place = absl::StrCat(where, " ", key, "[", i, "]");
    ASSIGN_OR_RETURN(Value message, ReadMessage(messages.items()[i], place));
    ASSIGN_OR_RETURN(const std::optional<bool> trained, ReadTrained(messages.items()[i], place));
    read.push_back(std::move(message));
    out.trained.push_back(trained.value_or(true));
  }
  out.messages = Value::List(std::move(read));
  return out;
}

absl::StatusOr<ChatExample> ReadShareGpt(const Value& conversations, absl::string_view where) {
  if (!conversations.is_list() || conversations.items().empty()) {
    return UserError(where, "conversations: want a list of {from, value} that is not empty");
  }
  ChatExample out;
  std::vector<Value> read;
  for (size_t i = 0; i < conversations.items().size(); ++i) {
    const std::string place = absl::StrCat(where, " conversations[", i, "]");
    const Value& turn = conversations.items()[i];
    const Value* from = turn.Find("from");
    const Value* value = turn.Find("value");
    if (from == nullptr || value == nullptr || !from->is_string() || !value->is_string()) {
      return UserError(place, "want from and value, both strings",
                       turn.Find("role") == nullptr
                           ? ""
                           : "--columns=messages:conversations reads role and content");
    }
    const std::string role = ShareGptRole(from->str());
    if (role.empty()) {
      return UserError(place, absl::StrCat("unknown role ", jinja::Repr(*from)),
                       "known: human, user, gpt, assistant, model, chatgpt, bing, system, tool, "
                       "observation, function, function_response, function_call, tool_call");
    }
    Value message = Value::Dict({{Text("role"), Text(role)}, {Text("content"), *value}});
    if (role == "tool_call") {
      ASSIGN_OR_RETURN(message, ToolCallMessage(*value, place));
    }
    ASSIGN_OR_RETURN(const std::optional<bool> trained, ReadTrained(turn, place));
    read.push_back(std::move(message));
    out.trained.push_back(trained.value_or(true));
  }
  out.messages = Value::List(std::move(read));
  return out;
}

ChatExample MakeChat(const std::vector<std::pair<std::string, std::string>>& turns) {
  ChatExample out;
  std::vector<Value> messages;
  for (const auto& [role, content] : turns) {
    messages.push_back(Value::Dict({{Text("role"), Text(role)}, {Text("content"), Text(content)}}));
  }
  out.trained.assign(turns.size(), true);
  out.messages = Value::List(std::move(messages));
  return out;
}

absl::StatusOr<Value> ReadTools(const Value* tools, absl::string_view where) {
  if (tools == nullptr || tools->is_none()) return Value::None();
  Value out = *tools;
  if (tools->is_string()) {
    if (tools->str().empty()) return Value::None();
    const absl::StatusOr<Value> parsed = jinja::ParseJson(tools->str());
    if (parsed.ok()) out = *parsed;
  }
  if (!out.is_list()) {
    return UserError(where, absl::StrCat("tools: want a list, got ", jinja::JsonTypeName(out)));
  }
  return out.items().empty() ? Value::None() : out;
}

void AddSystemPrompt(const std::string& prompt, ChatExample* chat) {
  if (prompt.empty()) return;
  std::vector<Value> messages = chat->messages.items();
  if (messages[0].Find("role")->str() == "system") return;
  messages.insert(messages.begin(),
                  Value::Dict({{Text("role"), Text("system")}, {Text("content"), Text(prompt)}}));
  chat->messages = Value::List(std::move(messages));
  chat->trained.insert(chat->trained.begin(), true);
}

}  // namespace lockstep::data
