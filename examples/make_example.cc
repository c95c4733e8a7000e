// Writes everything that the embedded example is made from, from a fixed seed:
//
//   bazel run //examples:make_example -- FOLDER
//
//   FOLDER/stories.jsonl          what the base model was trained on
//   FOLDER/train.jsonl            orders, which fine-tuning teaches
//   FOLDER/model/config.json, tokenizer.json, tokenizer_config.json
//
// examples/README.md has the command that trains the base model.
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "examples/byte_bpe.h"
#include "examples/market.h"

namespace lockstep::examples {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kStories = 24000, kOrders = 400, kVocab = 512;
constexpr uint64_t kStorySeed = 1, kOrderSeed = 2;
constexpr char kEndOfText[] = "<|end|>";

std::vector<std::string> Stories() {
  Random random(kStorySeed);
  std::vector<std::string> stories(kStories);
  for (std::string& story : stories) story = Story(random);
  return stories;
}

std::vector<Order> Orders() {
  Random random(kOrderSeed);
  std::vector<Order> orders;
  std::set<std::string> seen;
  while (orders.size() < kOrders) {
    Order order = MakeOrder(random);
    if (seen.insert(order.instruction).second) orders.push_back(std::move(order));
  }
  return orders;
}

// A Llama of 0.8 million parameters, 3.2 MiB in fp32.
Json ModelConfig() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"vocab_size", kVocab},
          {"hidden_size", 128},
          {"intermediate_size", 352},
          {"num_hidden_layers", 4},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"max_position_embeddings", 512},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"hidden_act", "silu"},
          {"initializer_range", 0.05},
          {"tie_word_embeddings", true},
          {"eos_token_id", kVocab - 1},
          {"torch_dtype", "float32"}};
}

absl::Status WriteAll(const std::string& folder) {
  RETURN_IF_ERROR(MakeDirectories(JoinPath(folder, "model")));
  const std::vector<std::string> stories = Stories();
  const std::vector<Order> orders = Orders();

  std::string story_lines, order_lines;
  for (const std::string& story : stories) {
    absl::StrAppend(&story_lines, Json{{"text", story}}.dump(), "\n");
  }
  std::vector<std::string> texts = stories;
  for (const Order& order : orders) {
    const Json line = {{"instruction", order.instruction}, {"output", order.output}};
    absl::StrAppend(&order_lines, line.dump(), "\n");
    texts.push_back(order.output);
  }
  const Json tokenizer_config = {{"bos_token", nullptr}, {"eos_token", kEndOfText}};
  for (const auto& [name, content] : std::vector<std::pair<std::string, std::string>>{
           {"stories.jsonl", story_lines},
           {"train.jsonl", order_lines},
           {"model/config.json", ModelConfig().dump(1) + "\n"},
           {"model/tokenizer.json", MakeTokenizerJson(texts, kVocab, kEndOfText)},
           {"model/tokenizer_config.json", tokenizer_config.dump(1) + "\n"}}) {
    RETURN_IF_ERROR(WriteFileAtomically(JoinPath(folder, name), content));
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace lockstep::examples

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_example FOLDER\n");
    return 1;
  }
  const char* start = std::getenv("BUILD_WORKING_DIRECTORY");
  const std::string folder = start == nullptr ? argv[1] : lockstep::JoinPath(start, argv[1]);
  const absl::Status status = lockstep::examples::WriteAll(folder);
  if (status.ok()) return 0;
  std::fprintf(stderr, "error: %s\n", std::string(status.message()).c_str());
  return 1;
}
