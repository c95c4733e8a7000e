// A model says how a text goes on, or answers a chat; docs/tools.md.
#include "nn/generate.h"

#include <gflags/gflags.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status.h"
#include "base/stopwatch.h"
#include "data/chat_template.h"
#include "data/jinja/json.h"
#include "data/jinja/template.h"
#include "data/jinja/value.h"
#include "data/tokenizer/stream_decoder.h"
#include "tools/model_flags.h"
#include "trainer/flags/flag_values.h"
#include "trainer/flags/model_folder.h"
#include "trainer/flags/program.h"
#include "trainer/flags/user_path.h"

DEFINE_string(model, "",
              "Folder with config.json, *.safetensors and tokenizer.json, or a hub id that lies in "
              "the local cache.");
DEFINE_string(prompt, "", "A text to go on from; empty: from the model's start of a text.");
DEFINE_string(chat, "", "What a user says; the model answers in its chat template.");
DEFINE_string(system_prompt, "", "With --chat: the system message before it.");
DEFINE_string(chat_template, "", "A .jinja file, or chatml. Default: the model's.");
DEFINE_string(chat_template_kwargs, "", "Variables for the chat template, a JSON object.");
DEFINE_string(template_date, "", "The date that templates see, YYYY-MM-DD. Default: today.");
DEFINE_int64(max_new_tokens, 256, "Most tokens to generate.");
DEFINE_double(temperature, 0, "0: the likeliest token each time; else logits are divided by it.");
DEFINE_int64(top_k, 0, "Draw among the so many likeliest tokens. 0: all.");
DEFINE_double(top_p, 1, "Draw among the likeliest tokens with this share of the probability.");
DEFINE_uint64(seed, 42, "Of the draws: the same seed gives the same text.");

namespace lockstep {
namespace {

using data::jinja::Value;

constexpr char kUsage[] =
    "Generates text with a model: goes on from a prompt, or answers in the model's chat template.\n"
    "\n"
    "  generate --model=DIR [--adapter=DIR] --prompt=\"Once upon a time\"\n"
    "  generate --model=DIR [--adapter=DIR] --chat=\"What is the capital of France?\"";

bool IsGiven(const char* flag) { return !gflags::GetCommandLineFlagInfoOrDie(flag).is_default; }

absl::Status CheckFlags() {
  RETURN_IF_ERROR(WantFlags({"model"}));
  if (IsGiven("prompt") == IsGiven("chat")) {
    return UserError("flags", "want one of --prompt and --chat",
                     "--prompt=\"\" starts from nothing");
  }
  RETURN_IF_ERROR(CheckRange("max_new_tokens", FLAGS_max_new_tokens, 1, HUGE_VAL));
  RETURN_IF_ERROR(CheckRange("temperature", FLAGS_temperature, 0, HUGE_VAL));
  RETURN_IF_ERROR(CheckRange("top_k", FLAGS_top_k, 0, HUGE_VAL));
  if (!(FLAGS_top_p > 0 && FLAGS_top_p <= 1)) {
    return UserError("--top_p", absl::StrCat("want more than 0, at most 1, got ", FLAGS_top_p),
                     "1 leaves out nothing");
  }
  return absl::OkStatus();
}

Value Message(const char* role, const std::string& content) {
  return Value::Dict({{Value::String("role"), Value::String(role)},
                      {Value::String("content"), Value::String(content)}});
}

absl::StatusOr<std::string> ChatTemplateSource(const data::TokenizerConfig& config) {
  if (!FLAGS_chat_template.empty()) {
    const bool built_in = FLAGS_chat_template == "chatml";
    return data::ReadChatTemplate(built_in ? FLAGS_chat_template : UserPath(FLAGS_chat_template));
  }
  const std::string* own = config.ChatTemplate();
  if (own != nullptr) return *own;
  return UserError("--chat", "this model has no chat template",
                   "name one with --chat_template; chatml is built in");
}

// The chat up to where the assistant speaks.
absl::StatusOr<std::string> RenderChat(const data::TokenizerConfig& config) {
  ASSIGN_OR_RETURN(const std::string source, ChatTemplateSource(config));
  ASSIGN_OR_RETURN(const auto chat, data::ParseChatTemplate(source, "chat_template"));
  std::vector<Value> messages;
  if (!FLAGS_system_prompt.empty()) messages.push_back(Message("system", FLAGS_system_prompt));
  messages.push_back(Message("user", FLAGS_chat));
  std::vector<std::pair<Value, Value>> variables;
  for (const auto& [name, text] : config.strings) {
    variables.emplace_back(Value::String(name), Value::String(text));
  }
  variables.emplace_back(Value::String("messages"), Value::List(std::move(messages)));
  variables.emplace_back(Value::String("add_generation_prompt"), Value::Bool(true));
  if (!FLAGS_chat_template_kwargs.empty()) {
    const auto more = data::jinja::ParseJson(FLAGS_chat_template_kwargs);
    if (!more.ok()) return Annotate(more.status(), "--chat_template_kwargs");
    if (!more->is_dict()) return UserError("--chat_template_kwargs", "want a JSON object");
    variables.insert(variables.end(), more->dict().items.begin(), more->dict().items.end());
  }
  data::jinja::RenderOptions options;
  options.now = FLAGS_template_date.empty()
                    ? absl::FormatTime("%Y-%m-%dT%H:%M:%S", absl::Now(), absl::LocalTimeZone())
                    : FLAGS_template_date;
  const Value all = data::WithDefaults(Value::Dict(std::move(variables)));
  ASSIGN_OR_RETURN(data::jinja::Rendered rendered, chat.Render(all, options));
  return std::move(rendered.text);
}

// A template writes special tokens itself, so none are put around a chat.
absl::StatusOr<std::vector<int32_t>> PromptIds(const ReadyTokenizer& tokenizer) {
  const bool is_chat = IsGiven("chat");
  std::string text = FLAGS_prompt;
  if (is_chat) {
    ASSIGN_OR_RETURN(text, RenderChat(tokenizer.config));
  }
  ASSIGN_OR_RETURN(std::vector<int32_t> ids,
                   tokenizer.tokenizer->EncodeIds(text, /*add_special_tokens=*/!is_chat));
  if (ids.empty() && tokenizer.config.bos_token) {
    const auto bos = tokenizer.tokenizer->TokenToId(*tokenizer.config.bos_token);
    if (bos) ids.push_back(*bos);
  }
  return ids;
}

// Prints what comes behind the prompt as soon as it is text. The prompt goes through the decoder
// too, since the text of a token depends on what stands before it.
class Printer {
 public:
  Printer(const data::Tokenizer& tokenizer, const std::vector<int32_t>& prompt)
      : decoder_(tokenizer, /*skip_special_tokens=*/true),
        prompt_bytes_(tokenizer.Decode(prompt, /*skip_special_tokens=*/true).size()) {
    for (const int32_t id : prompt) Print(decoder_.Push(id));
  }
  void Push(int32_t id) { Print(decoder_.Push(id)); }
  void Finish() {
    Print(decoder_.Finish());
    std::puts("");
    std::fflush(stdout);
  }

 private:
  void Print(const std::string& text) {
    const size_t skipped = std::min(prompt_bytes_, text.size());
    prompt_bytes_ -= skipped;
    std::fwrite(text.data() + skipped, 1, text.size() - skipped, stdout);
    std::fflush(stdout);
  }

  data::StreamDecoder decoder_;
  size_t prompt_bytes_;  // of the prompt's text, still to come
};

const char* Reason(nn::Stop stop) {
  switch (stop) {
    case nn::Stop::kStopToken:
      return "the model ended the text";
    case nn::Stop::kMaxNewTokens:
      return "--max_new_tokens reached";
    case nn::Stop::kModelLength:
      return "the model's length reached";
    case nn::Stop::kCaller:
      return "standard output is closed";
  }
  return "";
}

absl::Status Run() {
  RETURN_IF_ERROR(CheckFlags());
  ASSIGN_OR_RETURN(const std::string folder, FindModelFolder(FLAGS_model));
  ASSIGN_OR_RETURN(const ReadyTokenizer tokenizer, LoadTokenizer(folder));
  ASSIGN_OR_RETURN(const std::vector<int32_t> prompt, PromptIds(tokenizer));
  ASSIGN_OR_RETURN(const ReadyModel model, LoadModel(folder));

  nn::GenerateOptions options;
  options.sample = {FLAGS_temperature, FLAGS_top_k, FLAGS_top_p, FLAGS_seed};
  options.max_new_tokens = FLAGS_max_new_tokens;
  options.stop_ids = model.decoder().config().eos_token_ids;
  if (tokenizer.config.eos_token) {
    const auto eos = tokenizer.tokenizer->TokenToId(*tokenizer.config.eos_token);
    if (eos) options.stop_ids.push_back(*eos);
  }
  Printer printer(*tokenizer.tokenizer, prompt);
  int64_t count = 0;
  const Stopwatch watch;
  ASSIGN_OR_RETURN(const nn::Stop stop,
                   nn::Generate(model.context(), model.decoder(), prompt, options, [&](int32_t id) {
                     printer.Push(id);
                     ++count;
                     return std::ferror(stdout) == 0;
                   }));
  printer.Finish();
  absl::FPrintF(stderr, "%d tokens behind %d of the prompt, %.1f tokens/s; %s\n", count,
                prompt.size(), count / watch.Seconds(), Reason(stop));
  if (count == 0 && stop == nn::Stop::kStopToken && !IsGiven("chat")) {
    absl::FPrintF(stderr,
                  "HINT: what --pair_template put behind a question in training, by default a line "
                  "break, belongs to the prompt\n");
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  return lockstep::ToolMain(argc, argv, lockstep::kUsage, lockstep::Run);
}
