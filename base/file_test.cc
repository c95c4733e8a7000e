#include "base/file.h"

#include <cstdlib>

#include "gtest/gtest.h"

namespace lockstep {
namespace {

std::string TempPath(absl::string_view name) { return JoinPath(getenv("TEST_TMPDIR"), name); }

TEST(FileTest, WritesAndReadsBack) {
  const std::string path = TempPath("a");
  ASSERT_TRUE(WriteFileAtomically(path, "first").ok());
  ASSERT_TRUE(WriteFileAtomically(path, "second").ok());
  EXPECT_EQ(*ReadFile(path), "second");
}

TEST(FileTest, AFailedWriteLeavesNothingBehind) {
  EXPECT_FALSE(WriteFileAtomically(TempPath("missing/b"), "x").ok());
  EXPECT_FALSE(FileExists(TempPath("missing")));
}

TEST(FileTest, ErrorsNameThePath) {
  const auto missing = ReadFile("/nonexistent/file");
  EXPECT_EQ(
      std::string(missing.status().message()),
      "[/nonexistent/file] cannot open: No such file or directory\n"
      "HINT: check the path; a relative one starts in the folder where the command was typed");
}

TEST(FileTest, MapsAFileAndAnEmptyOne) {
  ASSERT_TRUE(WriteFileAtomically(TempPath("m"), "mapped").ok());
  const auto file = MappedFile::Open(TempPath("m"));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(std::string((*file)->view()), "mapped");
  ASSERT_TRUE(WriteFileAtomically(TempPath("e"), "").ok());
  EXPECT_EQ((*MappedFile::Open(TempPath("e")))->size(), 0u);
  EXPECT_FALSE(MappedFile::Open(getenv("TEST_TMPDIR")).ok());
}

TEST(FileTest, MakesFoldersWithTheirParents) {
  ASSERT_TRUE(MakeDirectories(TempPath("p/q/r")).ok());
  ASSERT_TRUE(MakeDirectories(TempPath("p/q/r")).ok());
  EXPECT_TRUE(FileExists(TempPath("p/q/r")));
  ASSERT_TRUE(WriteFileAtomically(TempPath("f"), "").ok());
  EXPECT_FALSE(MakeDirectories(TempPath("f")).ok());
}

TEST(FileTest, JoinsPaths) {
  EXPECT_EQ(JoinPath("a", "b"), "a/b");
  EXPECT_EQ(JoinPath("a/", "b"), "a/b");
  EXPECT_EQ(JoinPath("a", "/b"), "/b");
  EXPECT_EQ(JoinPath("", "b"), "b");
}

}  // namespace
}  // namespace lockstep
