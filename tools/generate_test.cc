#include "absl/strings/match.h"
#include "base/file.h"
#include "base/testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tools/testing.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class GenerateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    model_ = FreshFolder("model");
    WriteTinyModel(model_);
  }
  ToolResult Generate(std::vector<std::string> arguments) {
    arguments.push_back("--model=" + model_);
    arguments.push_back("--device=cpu");
    return RunTool("generate", arguments);
  }
  std::string model_;
};

constexpr char kStories[] = "external/shared/assets/stories260k";

TEST(GenerateStoriesTest, GreedyTextIsTheKnownOne) {
  if (!FileExists(kStories)) GTEST_SKIP() << "../shared/assets is not there";
  std::string want = *ReadFile(JoinPath(kStories, "greedy_200_expected.txt"));
  const std::string model = std::string("--model=") + kStories;
  const ToolResult whole = RunTool(
      "generate", {model, "--prompt=", "--temperature=0", "--max_new_tokens=200", "--device=cpu"});
  EXPECT_EQ(whole.exit_code, 0) << whole.err;
  EXPECT_EQ(whole.out, want);

  // The same from a prompt: spaces between it and what follows are right.
  want.pop_back();  // the last line's end
  const std::string prompt = "Once upon a time, there was a";
  const ToolResult rest = RunTool("generate", {model, "--prompt=" + prompt, "--device=cpu"});
  EXPECT_TRUE(absl::StartsWith(prompt + rest.out, want)) << rest.out;
}

TEST_F(GenerateTest, DrawsRepeatWithTheSeedAlone) {
  const std::vector<std::string> flags = {"--prompt=abc", "--temperature=1", "--max_new_tokens=30"};
  const ToolResult once = Generate(flags);
  EXPECT_EQ(once.exit_code, 0) << once.err;
  EXPECT_EQ(once.out, Generate(flags).out);
  std::vector<std::string> other = flags;
  other.push_back("--seed=43");
  EXPECT_NE(once.out, Generate(other).out);
  std::vector<std::string> narrow = flags;
  narrow.push_back("--top_k=1");
  EXPECT_EQ(Generate(narrow).out, Generate({"--prompt=abc", "--max_new_tokens=30"}).out);
}

TEST_F(GenerateTest, ChatGoesThroughTheTemplate) {
  // The template's text as a prompt gives the same tokens: this tokenizer adds none of its own.
  const ToolResult chat = Generate({"--chat=hi", "--system_prompt=be", "--max_new_tokens=20"});
  EXPECT_EQ(chat.exit_code, 0) << chat.err;
  const ToolResult text =
      Generate({"--max_new_tokens=20",
                "--prompt=<|im_start|>system\nbe<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
                "<|im_start|>assistant\n"});
  EXPECT_EQ(chat.out, text.out);
  EXPECT_NE(chat.out, Generate({"--prompt=hi", "--max_new_tokens=20"}).out);
}

// As a model does that has learned answers, where a prompt is not what stood before them.
TEST_F(GenerateTest, AModelThatSaysNothingBringsAHint) {
  EXPECT_THAT(Generate({"--prompt=abc", "--max_new_tokens=1"}).err, Not(HasSubstr("HINT")));
  const std::string path = JoinPath(model_, "config.json");
  nlohmann::json config = nlohmann::json::parse(*ReadFile(path));
  config["eos_token_id"] = nlohmann::json::array();
  for (int id = 0; id < 260; ++id) config["eos_token_id"].push_back(id);
  ASSERT_TRUE(WriteFileAtomically(path, config.dump()).ok());
  const ToolResult nothing = Generate({"--prompt=abc"});
  EXPECT_EQ(nothing.exit_code, 0) << nothing.err;
  EXPECT_EQ(nothing.out, "\n");
  EXPECT_THAT(nothing.err, HasSubstr("HINT: what --pair_template put behind a question"));
}

TEST_F(GenerateTest, AnAdapterChangesTheText) {
  const std::string adapter = FreshFolder("adapter");
  WriteTinyAdapter(model_, adapter);
  const ToolResult with = Generate({"--prompt=abc", "--adapter=" + adapter});
  EXPECT_EQ(with.exit_code, 0) << with.err;
  EXPECT_NE(with.out, Generate({"--prompt=abc"}).out);
}

TEST_F(GenerateTest, SaysWhatIsWrong) {
  EXPECT_THAT(Generate({}).err, HasSubstr("want one of --prompt and --chat"));
  EXPECT_THAT(Generate({"--prompt=a", "--top_p=0"}).err, HasSubstr("[--top_p]"));
  EXPECT_THAT(Generate({"--promt=a"}).err, HasSubstr("did you mean --prompt?"));
  EXPECT_THAT(Generate({"--prompt=a", "--adapter=nowhere"}).err, HasSubstr("nowhere"));
  EXPECT_EQ(Generate({"--prompt=a", "--dtype=int"}).exit_code, 1);
  TinyModel plain;
  plain.chat_template = false;
  WriteTinyModel(model_, plain);
  EXPECT_THAT(Generate({"--chat=hi"}).err, HasSubstr("HINT: name one with --chat_template"));
  EXPECT_EQ(Generate({"--chat=hi", "--chat_template=chatml"}).exit_code, 0);
  const ToolResult help = RunTool("generate", {"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.out, HasSubstr("--temperature"));
}

}  // namespace
}  // namespace lockstep
