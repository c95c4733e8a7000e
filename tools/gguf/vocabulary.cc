#include "tools/gguf/vocabulary.h"

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/tokenizer_config.h"
#include "nlohmann/json.hpp"
#include "nn/json.h"

namespace lockstep {
namespace {

using nlohmann::json;

enum TokenType : int32_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

// The value at `path` ("a", "b"), or null.
const json& At(const json& object, std::initializer_list<const char*> path) {
  static const json null;
  const json* at = &object;
  for (const char* key : path) {
    if (!at->is_object() || !at->contains(key)) return null;
    at = &(*at)[key];
  }
  return *at;
}

// Calls body(component) for a component and, in a Sequence, for its parts.
template <typename Body>
void ForEachComponent(const json& component, const char* list, const Body& body) {
  if (At(component, {"type"}) != "Sequence") return body(component);
  for (const json& part : At(component, {list})) body(part);
}

// How llama.cpp calls the expressions that cut words, and what tells them apart: both parts stand
// in the expressions, written one behind the other.
struct KnownExpressions {
  const char* name;
  absl::string_view part, other_part;
};
constexpr KnownExpressions kKnownExpressions[] = {
    {"llama-bpe", R"([^\r\n\p{L}\p{N}]?\p{L}+)",
     R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+)"},
    {"qwen2", R"([^\r\n\p{L}\p{N}]?\p{L}+)", R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+)"},
    // Words without English endings, which GPT-4o's have.
    {"tekken", R"([\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+)",
     R"([\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+)"},
    {"deepseek-coder", R"(\s?\p{L}+\s?\p{P}+[一-龥ࠀ-一가-퟿]+)", ""},
    {"deepseek-llm", R"(\s?[A-Za-zµÀ-Ö)",
     R"(]+\s?[!-/:-~！-／：-～‘-‟　-。]+\s+$[一-龥ࠀ-一가-퟿]+)"},
};

std::optional<std::string> PreTokenizerName(const json& tokenizer) {
  std::string expressions;
  bool digits = false, own_expression = false;
  ForEachComponent(At(tokenizer, {"pre_tokenizer"}), "pretokenizers", [&](const json& part) {
    const json& type = At(part, {"type"});
    if (type == "Split" && At(part, {"pattern", "Regex"}).is_string()) {
      absl::StrAppend(&expressions, At(part, {"pattern", "Regex"}).get<std::string>());
    }
    digits |= type == "Digits" && At(part, {"individual_digits"}) == true;
    own_expression |= type == "ByteLevel" && At(part, {"use_regex"}) != false;
  });
  for (const auto& [name, part, other_part] : kKnownExpressions) {
    if (absl::StrContains(expressions, part) && absl::StrContains(expressions, other_part)) {
      return name;
    }
  }
  if (!expressions.empty()) return std::nullopt;
  if (own_expression) return digits ? "smollm" : "gpt-2";
  return std::nullopt;
}

// Merges as pairs, from either form that files have.
absl::StatusOr<std::vector<std::pair<std::string, std::string>>> Merges(const json& tokenizer) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const json& merge : At(tokenizer, {"model", "merges"})) {
    if (merge.is_array() && merge.size() == 2) {
      out.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      continue;
    }
    const std::string text = merge.is_string() ? merge.get<std::string>() : "";
    const size_t space = text.find(' ');
    if (space == std::string::npos) return UserError("tokenizer.json", "model.merges: want pairs");
    out.emplace_back(text.substr(0, space), text.substr(space + 1));
  }
  return out;
}

// Some tokenizers do not call special what has no other use (Qwen's <|fim_prefix|>); there a token
// that is not is a user's text.
bool LooksSpecial(absl::string_view text) {
  return (absl::StartsWith(text, "<|") && absl::EndsWith(text, "|>")) ||
         (absl::StartsWith(text, "<｜") && absl::EndsWith(text, "｜>"));
}

struct Tokens {
  std::vector<std::string> texts;
  std::vector<int32_t> types;
};

// A token for each of the model's ids; ids that no token has are unused.
absl::StatusOr<Tokens> ReadTokens(const json& tokenizer, int64_t vocab_size) {
  Tokens out;
  out.texts.resize(vocab_size);
  out.types.assign(vocab_size, kUnused);
  // Byte-level BPE has neither byte tokens nor unknown ones.
  const bool has_bytes = At(tokenizer, {"model", "byte_fallback"}) == true;
  const auto set = [&](const std::string& text, int64_t id, int32_t type) -> absl::Status {
    if (id < 0 || id >= vocab_size) {
      return UserError("tokenizer.json", absl::StrCat("token \"", text, "\" has the id ", id,
                                                      ", the model's vocab_size is ", vocab_size));
    }
    out.texts[id] = text;
    const bool is_unknown = has_bytes && At(tokenizer, {"model", "unk_token"}) == text;
    out.types[id] = is_unknown ? kUnknown : type;
    return absl::OkStatus();
  };
  for (const auto& [text, id] : At(tokenizer, {"model", "vocab"}).items()) {
    const bool is_byte = has_bytes && text.size() == 6 && absl::StartsWith(text, "<0x");
    RETURN_IF_ERROR(set(text, id.get<int64_t>(), is_byte ? kByte : kNormal));
  }
  for (const json& added : At(tokenizer, {"added_tokens"})) {
    const std::string text = added.at("content").get<std::string>();
    const bool control = At(added, {"special"}) == true || LooksSpecial(text);
    RETURN_IF_ERROR(set(text, added.at("id").get<int64_t>(), control ? kControl : kUserDefined));
  }
  for (int64_t id = 0; id < vocab_size; ++id) {
    if (out.types[id] == kUnused) out.texts[id] = absl::StrCat("[PAD", id, "]");
  }
  return out;
}

absl::Status SetByteLevel(const json& tokenizer, GgufWriter& writer,
                          std::vector<std::string>* warnings) {
  std::optional<std::string> name = PreTokenizerName(tokenizer);
  if (!name) {
    name = "default";
    warnings->push_back(
        "tokenizer.json: no name of llama.cpp's is known for this pre_tokenizer; it is called "
        "\"default\" and may cut words differently");
  }
  writer.Set("tokenizer.ggml.model", "gpt2");
  writer.Set("tokenizer.ggml.pre", *name);
  ASSIGN_OR_RETURN(const auto merges, Merges(tokenizer));
  std::vector<std::string> lines;
  for (const auto& [left, right] : merges) lines.push_back(absl::StrCat(left, " ", right));
  writer.Set("tokenizer.ggml.merges", lines);
  return absl::OkStatus();
}

absl::Status SetSentencePiece(const json& tokenizer, const Tokens& tokens, GgufWriter& writer) {
  ASSIGN_OR_RETURN(const auto merges, Merges(tokenizer));
  std::map<std::string, float> scores;
  for (const auto& [left, right] : merges) {
    scores.try_emplace(left + right, -static_cast<float>(scores.size()));
  }
  std::vector<float> values;
  for (size_t id = 0; id < tokens.texts.size(); ++id) {
    const auto score = scores.find(tokens.texts[id]);
    // What no merge makes is never looked for as a result of one.
    values.push_back(score != scores.end()         ? score->second
                     : tokens.types[id] == kNormal ? -static_cast<float>(scores.size())
                                                   : 0.0f);
  }
  bool adds_space = false;
  ForEachComponent(At(tokenizer, {"normalizer"}), "normalizers",
                   [&](const json& part) { adds_space |= At(part, {"type"}) == "Prepend"; });
  ForEachComponent(At(tokenizer, {"pre_tokenizer"}), "pretokenizers", [&](const json& part) {
    adds_space |= At(part, {"type"}) == "Metaspace" && At(part, {"prepend_scheme"}) != "never" &&
                  At(part, {"add_prefix_space"}) != false;
  });
  writer.Set("tokenizer.ggml.model", "llama");
  writer.Set("tokenizer.ggml.scores", values);
  writer.Set("tokenizer.ggml.add_space_prefix", adds_space);
  return absl::OkStatus();
}

absl::Status SetSpecialTokens(const std::string& folder, const nn::ModelConfig& config,
                              GgufWriter& writer) {
  ASSIGN_OR_RETURN(const auto tokenizer,
                   data::Tokenizer::Load(JoinPath(folder, "tokenizer.json"), {}));
  ASSIGN_OR_RETURN(const data::TokenizerConfig names, data::ReadTokenizerConfig(folder));
  const auto id_of = [&](const std::optional<std::string>& token, int64_t otherwise) {
    const auto id = token ? tokenizer->TokenToId(*token) : std::nullopt;
    return id ? *id : otherwise;
  };
  const auto set = [&](const char* key, int64_t id) {
    if (id >= 0) writer.Set(key, static_cast<uint32_t>(id));
  };
  const int64_t bos = id_of(names.bos_token, config.bos_token_id);
  const int64_t eos =
      id_of(names.eos_token, config.eos_token_ids.empty() ? -1 : config.eos_token_ids[0]);
  set("tokenizer.ggml.bos_token_id", bos);
  set("tokenizer.ggml.eos_token_id", eos);
  set("tokenizer.ggml.padding_token_id", id_of(names.pad_token, config.pad_token_id));
  set("tokenizer.ggml.unknown_token_id", id_of(names.unk_token, -1));
  // What the post-processor puts around a text.
  ASSIGN_OR_RETURN(const std::vector<int32_t> around, tokenizer->EncodeIds("", true));
  writer.Set("tokenizer.ggml.add_bos_token", !around.empty() && around.front() == bos);
  writer.Set("tokenizer.ggml.add_eos_token",
             !around.empty() && around.back() == eos && (around.size() > 1 || eos != bos));
  if (names.ChatTemplate() != nullptr) {
    writer.Set("tokenizer.chat_template", *names.ChatTemplate());
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status SetVocabulary(const std::string& folder, const nn::ModelConfig& config,
                           GgufWriter& writer, std::vector<std::string>* warnings) {
  const std::string path = JoinPath(folder, "tokenizer.json");
  // Loading it first checks everything that is read below.
  ASSIGN_OR_RETURN(const auto checked, data::Tokenizer::Load(path, {}));
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  ASSIGN_OR_RETURN(const json tokenizer, nn::ParseJsonObject(text, path));
  ASSIGN_OR_RETURN(const Tokens tokens, ReadTokens(tokenizer, config.vocab_size));
  bool byte_level = false;
  ForEachComponent(At(tokenizer, {"decoder"}), "decoders",
                   [&](const json& part) { byte_level |= At(part, {"type"}) == "ByteLevel"; });
  if (byte_level) {
    RETURN_IF_ERROR(SetByteLevel(tokenizer, writer, warnings));
  } else if (At(tokenizer, {"model", "byte_fallback"}) == true) {
    RETURN_IF_ERROR(SetSentencePiece(tokenizer, tokens, writer));
  } else {
    return UserError(path, "want byte-level BPE or BPE with byte_fallback; got neither",
                     "llama.cpp has no counterpart of this tokenizer");
  }
  writer.Set("tokenizer.ggml.tokens", tokens.texts);
  writer.Set("tokenizer.ggml.token_type", tokens.types);
  return SetSpecialTokens(folder, config, writer);
}

}  // namespace lockstep
