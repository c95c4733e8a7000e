#include "tools/testing.h"

#include <sys/wait.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/check.h"
#include "base/file.h"
#include "base/testing.h"
#include "base/utf8.h"
#include "nlohmann/json.hpp"
#include "nn/model.h"
#include "tensor/runtime.h"

namespace lockstep {
namespace {

constexpr char kChatMl[] =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

const char* const kSpecial[] = {"<s>", "</s>", "<|im_start|>", "<|im_end|>"};

std::string Quoted(const std::string& word) {
  return absl::StrCat("'", absl::StrReplaceAll(word, {{"'", "'\\''"}}), "'");
}

std::string Utf8(char32_t code) {
  std::string out;
  AppendUtf8(code, &out);
  return out;
}

// A token for each byte, written as byte-level BPE writes bytes: printable ones as themselves, the
// others from U+0100 on.
nlohmann::json TokenizerFile() {
  nlohmann::json vocab = nlohmann::json::object(), added = nlohmann::json::array();
  int id = 0;
  for (const char* token : kSpecial) {
    added.push_back({{"id", id},
                     {"content", token},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
    vocab[token] = id++;
  }
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    vocab[Utf8(printable ? byte : next++)] = id++;
  }
  const nlohmann::json level = {{"type", "ByteLevel"},
                                {"add_prefix_space", false},
                                {"trim_offsets", true},
                                {"use_regex", true}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer", level},
          {"post_processor", nullptr},
          {"decoder", level},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", nlohmann::json::array()}}}};
}

void Write(const std::string& folder, const char* name, const std::string& content) {
  CHECK(WriteFileAtomically(JoinPath(folder, name), content).ok());
}

void SaveRandom(const nn::ModelOptions& options, const std::string& folder) {
  const auto runtime = Runtime::Open(Device{DeviceType::kCPU, 0});
  CHECK(runtime.ok());
  const auto model = nn::Model::Load((*runtime)->context(), options);
  CHECK(model.ok()) << model.status();
  const absl::Status saved = (*model)->Save(folder, options.directory);
  CHECK(saved.ok()) << saved;
}

}  // namespace

ToolResult RunTool(const std::string& name, const std::vector<std::string>& arguments,
                   const std::string& standard_input) {
  const std::string folder = FreshFolder("run_tool");
  Write(folder, "in", standard_input);
  std::string command = absl::StrCat("tools/", name);
  for (const std::string& argument : arguments) absl::StrAppend(&command, " ", Quoted(argument));
  absl::StrAppend(&command, " < ", folder, "/in > ", folder, "/out 2> ", folder, "/err");
  const int status = std::system(command.c_str());
  ToolResult result;
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  result.out = *ReadFile(JoinPath(folder, "out"));
  result.err = *ReadFile(JoinPath(folder, "err"));
  return result;
}

void WriteTinyModel(const std::string& folder, const TinyModel& options) {
  CHECK(MakeDirectories(folder).ok());
  const nlohmann::json config = {{"architectures", {"LlamaForCausalLM"}},
                                 {"model_type", "llama"},
                                 {"hidden_size", 64},
                                 {"intermediate_size", 96},
                                 {"num_hidden_layers", 2},
                                 {"num_attention_heads", 4},
                                 {"num_key_value_heads", 2},
                                 {"vocab_size", 260},
                                 {"max_position_embeddings", 256},
                                 {"rms_norm_eps", 1e-5},
                                 {"initializer_range", 0.1},
                                 {"hidden_act", "silu"},
                                 {"tie_word_embeddings", options.tied},
                                 {"bos_token_id", 0},
                                 {"eos_token_id", 1},
                                 {"torch_dtype", options.dtype}};
  Write(folder, "config.json", config.dump(2));
  Write(folder, "tokenizer.json", TokenizerFile().dump());
  nlohmann::json tokenizer_config = {{"bos_token", "<s>"},
                                     {"eos_token", options.chat_template ? "<|im_end|>" : "</s>"}};
  if (options.chat_template) tokenizer_config["chat_template"] = kChatMl;
  Write(folder, "tokenizer_config.json", tokenizer_config.dump(2));
  SaveRandom({.directory = folder, .full = true, .random_init = true, .seed = 7}, folder);
}

void WriteTinyAdapter(const std::string& model_folder, const std::string& folder) {
  nn::LoraConfig lora;
  lora.r = 4;
  lora.alpha = 8;
  lora.init = nn::LoraInit::kFalse;
  SaveRandom({.directory = model_folder, .lora = lora, .seed = 9}, folder);
}

}  // namespace lockstep
