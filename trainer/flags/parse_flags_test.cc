#include "trainer/flags/parse_flags.h"

#include <gflags/gflags.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"

DEFINE_int32(number_of_things, 3, "how many things");
DEFINE_bool(special, false, "a switch");
DEFINE_string(label, "two\nlines", "a text");

namespace lockstep {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<std::vector<std::string>> Parse(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "tool");
  std::vector<char*> argv;
  for (std::string& a : arguments) argv.push_back(a.data());
  return ParseFlags(static_cast<int>(argv.size()), argv.data());
}

TEST(ParseFlagsTest, SetsFlagsInAllSpellings) {
  gflags::FlagSaver saver;
  const auto rest =
      Parse({"--number_of_things=5", "a", "--label", "x=y", "--special", "--", "--b"});
  ASSERT_TRUE(rest.ok()) << rest.status();
  EXPECT_THAT(*rest, ElementsAre("a", "--b"));
  EXPECT_EQ(FLAGS_number_of_things, 5);
  EXPECT_EQ(FLAGS_label, "x=y");
  EXPECT_TRUE(FLAGS_special);
  ASSERT_TRUE(Parse({"--nospecial", "-label="}).ok());
  EXPECT_FALSE(FLAGS_special);
  EXPECT_EQ(FLAGS_label, "");
}

TEST(ParseFlagsTest, NamesAnUnknownFlagAndTheNearestOne) {
  const auto rest = Parse({"--numbr_of_things=5"});
  EXPECT_THAT(rest.status().message(), HasSubstr("there is no flag --numbr_of_things"));
  EXPECT_THAT(rest.status().message(), HasSubstr("HINT: did you mean --number_of_things?"));
  // A word of a longer name, or its beginning; not what is inside of a word.
  EXPECT_THAT(Parse({"--thin"}).status().message(), HasSubstr("did you mean --number_of_things?"));
  EXPECT_THAT(Parse({"--things"}).status().message(),
              HasSubstr("did you mean --number_of_things?"));
  EXPECT_THAT(Parse({"--hin"}).status().message(), HasSubstr("HINT: --help lists the flags"));
  // The same first word.
  EXPECT_THAT(Parse({"--number_per_gadget"}).status().message(),
              HasSubstr("did you mean --number_of_things?"));
}

TEST(ParseFlagsTest, AnswersNamesFromElsewhereWithOurs) {
  std::string tool = "tool", flag = "--how-many=3", foreign = "--logtostderr";
  char* argv[] = {tool.data(), flag.data()};
  EXPECT_THAT(ParseFlags(2, argv, {{"how_many", "--number_of_things"}}).status().message(),
              HasSubstr("HINT: --number_of_things"));
  // The libraries' own flags are none of ours.
  EXPECT_FALSE(Parse({foreign}).ok());
}

TEST(ParseFlagsTest, NamesAValueThatDoesNotParse) {
  EXPECT_THAT(Parse({"--number_of_things=many"}).status().message(),
              HasSubstr("--number_of_things: want a whole number, got \"many\""));
  EXPECT_THAT(Parse({"--label"}).status().message(), HasSubstr("--label wants a value"));
  EXPECT_THAT(Parse({"--label"}).status().message(), HasSubstr("HINT: --label=VALUE. a text"));
}

TEST(ParseFlagsTest, WantsUtf8) {
  gflags::FlagSaver saver;
  EXPECT_TRUE(Parse({"--label=Grüße"}).ok());
  EXPECT_THAT(Parse({"--label=Gr\xfc\xdf"}).status().message(),
              HasSubstr("--label: want UTF-8, got Gr\\xfc\\xdf"));
}

TEST(ParseFlagsTest, ReadsAFlagFileAndNamesItsLine) {
  gflags::FlagSaver saver;
  const std::string path = ::testing::TempDir() + "/flags";
  ASSERT_TRUE(WriteFileAtomically(path, "# comment\n\n--label=from file\n").ok());
  ASSERT_TRUE(Parse({"--flagfile=" + path}).ok());
  EXPECT_EQ(FLAGS_label, "from file");
  ASSERT_TRUE(WriteFileAtomically(path, "\n--labbel=x\n").ok());
  EXPECT_THAT(Parse({"--flagfile", path}).status().message(), HasSubstr("/flags:2]"));
}

TEST(ParseFlagsTest, AFlagFilesLineKeepsEveryCharacter) {
  gflags::FlagSaver saver;
  const std::string path = ::testing::TempDir() + "/flags";
  for (const char* value : {"", "plain text", " spaces ", "two\nlines\n", "\"", "\"in quotes\"",
                            "back\\slash \\n", "\\\n", "{\"a\": \"b\"}", "Grüße\r", "a=\"b\""}) {
    const std::string line = FlagFile({{"label", value}});
    EXPECT_EQ(line.find('\n'), line.size() - 1) << line;
    ASSERT_TRUE(WriteFileAtomically(path, line).ok());
    const auto parsed = Parse({"--flagfile=" + path});
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(FLAGS_label, value);
  }
  ASSERT_TRUE(WriteFileAtomically(path, "--label=\"\\q\"\n").ok());
  EXPECT_THAT(Parse({"--flagfile", path}).status().message(), HasSubstr("/flags:1]"));
}

}  // namespace
}  // namespace lockstep
