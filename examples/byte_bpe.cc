#include "examples/byte_bpe.h"

#include <cctype>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/utf8.h"

namespace lockstep::examples {
namespace {

using Json = nlohmann::ordered_json;
using Tokens = std::vector<std::string>;
using Pair = std::pair<std::string, std::string>;

// GPT-2's table: each byte as a printable character, in UTF-8.
std::string Printable(unsigned char byte) {
  const auto prints = [](int b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  };
  char32_t code = byte;
  if (!prints(byte)) {
    code = 256;
    for (int b = 0; b < byte; ++b) code += !prints(b);
  }
  std::string out;
  AppendUtf8(code, &out);
  return out;
}

// The words of GPT-2's expression, for ASCII: runs of letters, digits or other characters, each
// with one space before it if there is one; white space else.
std::vector<std::string> Words(const std::string& text) {
  const auto kind = [](char c) {
    return std::isalpha(c) ? 0 : std::isdigit(c) ? 1 : std::isspace(c) ? 2 : 3;
  };
  std::vector<std::string> words;
  for (size_t i = 0; i < text.size();) {
    size_t end = i + (text[i] == ' ' && i + 1 < text.size() && kind(text[i + 1]) != 2);
    const int word_kind = kind(text[end]);
    while (end < text.size() && kind(text[end]) == word_kind) ++end;
    words.push_back(text.substr(i, end - i));
    i = end;
  }
  return words;
}

void Merge(const Pair& pair, Tokens* tokens) {
  Tokens merged;
  for (size_t i = 0; i < tokens->size(); ++i) {
    const bool both =
        i + 1 < tokens->size() && (*tokens)[i] == pair.first && (*tokens)[i + 1] == pair.second;
    merged.push_back(both ? pair.first + pair.second : (*tokens)[i]);
    i += both;
  }
  *tokens = std::move(merged);
}

// The different words of the texts as tokens, a byte each, and how often they come.
std::vector<std::pair<Tokens, int64_t>> CountWords(const std::vector<std::string>& texts) {
  std::map<std::string, int64_t> counts;
  for (const std::string& text : texts) {
    for (const std::string& word : Words(text)) ++counts[word];
  }
  std::vector<std::pair<Tokens, int64_t>> words;
  for (const auto& [word, count] : counts) {
    Tokens tokens;
    for (const char c : word) tokens.push_back(Printable(static_cast<unsigned char>(c)));
    words.push_back({std::move(tokens), count});
  }
  return words;
}

struct Bpe {
  Json vocab = Json::object(), merges = Json::array();
  int next_id = 0;
};

// The bytes, then the most frequent pair of neighbors as one token, again and again.
Bpe Learn(std::vector<std::pair<Tokens, int64_t>> words, int num_ids) {
  Bpe bpe;
  for (int byte = 0; byte < 256; ++byte) {
    bpe.vocab[Printable(static_cast<unsigned char>(byte))] = bpe.next_id++;
  }
  while (bpe.next_id < num_ids) {
    std::map<Pair, int64_t> pairs;
    for (const auto& [tokens, count] : words) {
      for (size_t i = 0; i + 1 < tokens.size(); ++i) pairs[{tokens[i], tokens[i + 1]}] += count;
    }
    if (pairs.empty()) break;
    auto best = pairs.begin();
    for (auto pair = pairs.begin(); pair != pairs.end(); ++pair) {
      if (pair->second > best->second) best = pair;
    }
    const auto& [left, right] = best->first;
    for (auto& [tokens, count] : words) Merge(best->first, &tokens);
    bpe.merges.push_back(Json::array({left, right}));
    bpe.vocab[left + right] = bpe.next_id++;
  }
  return bpe;
}

}  // namespace

std::string MakeTokenizerJson(const std::vector<std::string>& texts, int vocab_size,
                              const std::string& end_of_text) {
  const Bpe bpe = Learn(CountWords(texts), vocab_size - 1);
  const Json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", true},
                           {"use_regex", true}};
  const Json tokenizer = {{"version", "1.0"},
                          {"truncation", nullptr},
                          {"padding", nullptr},
                          {"added_tokens",
                           {{{"id", bpe.next_id},
                             {"content", end_of_text},
                             {"single_word", false},
                             {"lstrip", false},
                             {"rstrip", false},
                             {"normalized", false},
                             {"special", true}}}},
                          {"normalizer", nullptr},
                          {"pre_tokenizer", byte_level},
                          {"post_processor", nullptr},
                          {"decoder", byte_level},
                          {"model",
                           {{"type", "BPE"},
                            {"dropout", nullptr},
                            {"unk_token", nullptr},
                            {"continuing_subword_prefix", nullptr},
                            {"end_of_word_suffix", nullptr},
                            {"fuse_unk", false},
                            {"byte_fallback", false},
                            {"ignore_merges", false},
                            {"vocab", bpe.vocab},
                            {"merges", bpe.merges}}}};
  return tokenizer.dump(1) + "\n";
}

}  // namespace lockstep::examples
