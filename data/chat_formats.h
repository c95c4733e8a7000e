// The chat formats, each to the one form of ChatExample: role and content.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/examples.h"

namespace lockstep::data {

// `messages` of OpenAI's form. `where` is file and line, `key` what the list is called.
//   * `weight` and `train` leave the message for `trained`;
//   * keys that are null (but `content`) and an empty list of tool calls are left out;
//   * the names of a reasoning (reasoning_content, thinking, reasoning) are filled as transformers
//     does before it renders.
absl::StatusOr<ChatExample> ReadMessages(const jinja::Value& messages, absl::string_view where,
                                         absl::string_view key);

// `conversations` of ShareGPT: from and value. human and user speak as the user; gpt, assistant,
// model, chatgpt and bing as the assistant; tool, observation, function and function_response as a
// tool; function_call and tool_call are an assistant's tool call. Another role is an error.
absl::StatusOr<ChatExample> ReadShareGpt(const jinja::Value& conversations,
                                         absl::string_view where);

// Turns of text: {role, content}…
ChatExample MakeChat(const std::vector<std::pair<std::string, std::string>>& turns);

// `tools`: None, a list, or a list as JSON in a string.
absl::StatusOr<jinja::Value> ReadTools(const jinja::Value* tools, absl::string_view where);

// Puts a system message first where there is none.
void AddSystemPrompt(const std::string& prompt, ChatExample* chat);

}  // namespace lockstep::data
