#include "nn/config_reader.h"

#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"

namespace lockstep::nn {
namespace {

// Larger sizes than any model's, small enough for products of two in 64 bits.
constexpr int64_t kMostInt = int64_t{1} << 31;

// Fields of every transformers config that do not enter the forward pass.
constexpr const char* kHarmless[] = {
    "add_cross_attention",
    "architectures",
    "attn_implementation",
    "auto_map",
    "begin_suppress_tokens",
    "bad_words_ids",
    "bos_token_id",
    "chunk_size_feed_forward",
    "cls_token_id",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_llama_config",
    "keys_to_ignore_at_inference",
    "label2id",
    "length_penalty",
    "mask_token_id",
    "max_length",
    "max_sequence_length",
    "min_length",
    "model_max_length",
    "model_type",
    "name_or_path",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_logits_to_keep",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "prefix",
    "problem_type",
    "pruned_heads",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "use_bfloat16",
    "use_cache",
};

bool SaysNothing(const nlohmann::json& value) {
  if (value.is_null() || value == false || (value.is_string() && value == "")) return true;
  return (value.is_object() || value.is_array()) && value.empty();
}

bool IsHarmless(absl::string_view name) {
  // Private to its writer, or bookkeeping of other tools.
  for (const char* prefix : {"_", "unsloth_", "transformers."}) {
    if (absl::StartsWith(name, prefix)) return true;
  }
  for (const char* harmless : kHarmless) {
    if (name == harmless) return true;
  }
  return false;
}

}  // namespace

std::string Shown(const nlohmann::json& value) {
  std::string text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (text.size() > 80) text = absl::StrCat(text.substr(0, 77), "...");
  return text;
}

ConfigReader::ConfigReader(absl::string_view where, const nlohmann::json& object, std::string path)
    : where_(where), path_(std::move(path)), object_(object) {}

const nlohmann::json* ConfigReader::Find(const char* name) {
  known_.insert(name);
  const auto it = object_.find(name);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

bool ConfigReader::Has(const char* name) const {
  const auto it = object_.find(name);
  return it != object_.end() && !it->is_null();
}

void ConfigReader::Problem(absl::string_view field, absl::string_view problem) {
  problems_.push_back(absl::StrCat(path_, field, ": ", problem));
}

void ConfigReader::Append(const ConfigReader& nested) {
  problems_.insert(problems_.end(), nested.problems_.begin(), nested.problems_.end());
}

void ConfigReader::WrongType(const char* name, absl::string_view wanted,
                             const nlohmann::json& got) {
  Problem(name, absl::StrCat("want ", wanted, ", got ", Shown(got)));
}

int64_t ConfigReader::Int(const char* name, int64_t missing, int64_t least) {
  const nlohmann::json* value = Find(name);
  if (value == nullptr) return missing;
  // Writers in Python may spell a whole number 4096.0.
  const bool whole = value->is_number() && std::floor(value->get<double>()) == value->get<double>();
  const double number = whole ? value->get<double>() : NAN;
  if (number >= static_cast<double>(least) && number <= static_cast<double>(kMostInt)) {
    return static_cast<int64_t>(number);
  }
  WrongType(name, absl::StrCat("a whole number from ", least, " to ", kMostInt), *value);
  return missing;
}

double ConfigReader::Number(const char* name, double missing) {
  const nlohmann::json* value = Find(name);
  if (value == nullptr) return missing;
  if (value->is_number() && std::isfinite(value->get<double>())) return value->get<double>();
  WrongType(name, "a finite number", *value);
  return missing;
}

double ConfigReader::Positive(const char* name, double missing) {
  const double number = Number(name, missing);
  if (number > 0 || !Has(name)) return number;
  WrongType(name, "a number above 0", *Find(name));
  return missing;
}

bool ConfigReader::Bool(const char* name, bool missing) {
  const nlohmann::json* value = Find(name);
  if (value == nullptr) return missing;
  if (value->is_boolean()) return value->get<bool>();
  WrongType(name, "true or false", *value);
  return missing;
}

std::string ConfigReader::String(const char* name, absl::string_view missing) {
  const nlohmann::json* value = Find(name);
  if (value == nullptr) return std::string(missing);
  if (value->is_string()) return value->get<std::string>();
  WrongType(name, "a string", *value);
  return std::string(missing);
}

std::vector<double> ConfigReader::Numbers(const char* name) {
  const nlohmann::json* value = Find(name);
  std::vector<double> numbers;
  if (value == nullptr) return numbers;
  bool right = value->is_array();
  if (right) {
    for (const nlohmann::json& element : *value) {
      right = right && element.is_number() && std::isfinite(element.get<double>());
      if (right) numbers.push_back(element.get<double>());
    }
  }
  if (!right) WrongType(name, "a list of finite numbers", *value);
  return numbers;
}

std::vector<std::string> ConfigReader::Strings(const char* name) {
  const nlohmann::json* value = Find(name);
  std::vector<std::string> strings;
  if (value == nullptr) return strings;
  bool right = value->is_array();
  if (right) {
    for (const nlohmann::json& element : *value) {
      right = right && element.is_string();
      if (right) strings.push_back(element.get<std::string>());
    }
  }
  if (!right) WrongType(name, "a list of strings", *value);
  return strings;
}

std::vector<int64_t> ConfigReader::IntOrList(const char* name) {
  const nlohmann::json* value = Find(name);
  std::vector<int64_t> ids;
  if (value == nullptr) return ids;
  const nlohmann::json list = value->is_array() ? *value : nlohmann::json::array({*value});
  for (const nlohmann::json& element : list) {
    if (!element.is_number_integer() || element.get<int64_t>() < 0 ||
        element.get<int64_t>() > kMostInt) {
      WrongType(name, "a token id or a list of them", *value);
      return {};
    }
    ids.push_back(element.get<int64_t>());
  }
  return ids;
}

const nlohmann::json* ConfigReader::Object(const char* name) {
  const nlohmann::json* value = Find(name);
  if (value == nullptr || value->is_object()) return value;
  WrongType(name, "an object", *value);
  return nullptr;
}

void ConfigReader::Ignore(std::initializer_list<const char*> names) {
  known_.insert(names.begin(), names.end());
}

void ConfigReader::Want(const char* name, const nlohmann::json& neutral, absl::string_view hint) {
  const nlohmann::json* value = Find(name);
  if (value == nullptr || *value == neutral) return;
  Problem(name, absl::StrCat("only ", Shown(neutral), " is supported, got ", Shown(*value),
                             hint.empty() ? "" : absl::StrCat(" (", hint, ")")));
}

std::vector<std::string> ConfigReader::Unknown() const {
  std::vector<std::string> names;
  for (const auto& [name, value] : object_.items()) {
    if (!known_.contains(name) && !SaysNothing(value)) names.push_back(name);
  }
  return names;
}

void ConfigReader::RefuseUnknown() {
  for (const std::string& name : Unknown()) {
    if (IsHarmless(name)) continue;
    Problem(name, absl::StrCat("unknown field, ", Shown(object_[name]),
                               ": it may change what the model computes"));
  }
}

absl::Status ConfigReader::status() const {
  if (problems_.empty()) return absl::OkStatus();
  return UserError(where_, absl::StrJoin(problems_, "\n  "),
                   "docs/families.md lists what each field does and which are supported");
}

}  // namespace lockstep::nn
