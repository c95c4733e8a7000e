#include "trainer/plan/idle_flags.h"

#include <algorithm>

#include "absl/strings/string_view.h"

namespace lockstep {

std::vector<std::string> IdleDataFlags(const DataOptions& options,
                                       const std::vector<std::string>& formats,
                                       bool has_chat_template) {
  const auto any = [&](std::initializer_list<absl::string_view> wanted) {
    return std::any_of(formats.begin(), formats.end(), [&](const std::string& format) {
      return std::find(wanted.begin(), wanted.end(), format) != wanted.end();
    });
  };
  const bool turns = any({"alpaca", "question_answer"});
  const bool chats =
      any({"messages", "sharegpt", "prompt_completion"}) || (turns && has_chat_template);
  const data::EncodeOptions& encode = options.encode;
  const data::LossOn loss_on = encode.loss_on;
  std::vector<std::string> idle;
  if (!chats && !options.examples.system_prompt.empty()) {
    idle.push_back("--system_prompt: no document is a chat");
  }
  if (!chats && !encode.chat_template.empty()) {
    idle.push_back("--chat_template: no document is a chat");
  }
  if (encode.pair_template != data::EncodeOptions().pair_template && !turns) {
    idle.push_back("--pair_template: no document has a question and an answer to join");
  } else if (encode.pair_template != data::EncodeOptions().pair_template && has_chat_template) {
    idle.push_back("--pair_template: question and answer are turns of the chat template");
  }
  if (loss_on == data::LossOn::kAssistant && !chats) {
    idle.push_back("--loss_on=assistant: no document is a chat");
  }
  if (loss_on == data::LossOn::kCompletion && !chats && !turns) {
    idle.push_back("--loss_on=completion: no document has one");
  }
  if (!encode.append_eos && !any({"text"})) {
    idle.push_back("--append_eos=false: no document is plain text");
  }
  return idle;
}

}  // namespace lockstep
