#include "trainer/output_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <utility>

#include "base/file.h"
#include "base/testing.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

class OutputFolderTest : public ::testing::Test {
 protected:
  OutputFolderTest() {
    setenv("BUILD_WORKING_DIRECTORY", root_.c_str(), 1);  // where relative paths begin
    options_.data.model_name = "org/tiny";
    options_.data.train_files = {"some/lines.jsonl", "more.jsonl"};
  }
  OutputFolder Choose() {
    auto folder = OutputFolder::Choose(options_, absl::UnixEpoch());
    EXPECT_TRUE(folder.ok()) << folder.status();
    return *std::move(folder);
  }

  const std::string root_ = FreshFolder();
  TrainOptions options_;
};

TEST_F(OutputFolderTest, RunsThatStartInTheSameSecondHaveOneEach) {
  const std::string time =
      absl::FormatTime("%Y%m%d-%H%M%S", absl::UnixEpoch(), absl::LocalTimeZone());
  const std::string name = root_ + "/runs/" + time + "-tiny-lines";
  const OutputFolder first = Choose();
  const OutputFolder second = Choose(), third = Choose();
  EXPECT_EQ(first.path(), name);
  EXPECT_EQ(second.path(), name + "-2");
  EXPECT_EQ(third.path(), name + "-3");
}

TEST_F(OutputFolderTest, AModelHasANameInItsOwnFolderToo) {
  using ::testing::HasSubstr;
  for (const char* model : {"/a/tiny", "/a/tiny/", "/a/tiny/.", "/a/tiny/x/.."}) {
    options_.data.model_name = model;
    EXPECT_THAT(Choose().path(), HasSubstr("-tiny-lines")) << model;
  }
}

TEST_F(OutputFolderTest, OnlyAnEmptyOneGoesWithItsOwner) {
  std::string empty, full;
  {
    OutputFolder first = Choose();
    const OutputFolder moved = std::move(first), second = Choose();
    empty = moved.path();
    full = second.path();
    ASSERT_TRUE(WriteFileAtomically(full + "/run.json", "{}").ok());
    EXPECT_TRUE(FileExists(empty));
  }
  EXPECT_FALSE(FileExists(empty));
  EXPECT_TRUE(FileExists(full));
}

TEST_F(OutputFolderTest, ANamedOneIsMadeWhenItIsNeeded) {
  options_.run_name = "mine";
  {
    OutputFolder folder = Choose();
    EXPECT_EQ(folder.path(), root_ + "/runs/mine");
    EXPECT_TRUE(folder.Lock(0).ok()) << "there is nothing to lock";
    EXPECT_FALSE(FileExists(folder.path()));
    ASSERT_TRUE(folder.Make().ok());
  }
  EXPECT_TRUE(FileExists(root_ + "/runs/mine"));
  options_.output_dir = root_ + "/x/../elsewhere";
  EXPECT_EQ(Choose().path(), root_ + "/elsewhere") << "--output_dir beats --run_name";
}

TEST_F(OutputFolderTest, OneRunAtATime) {
  options_.run_name = "mine";
  std::optional<OutputFolder> first = Choose();
  ASSERT_TRUE(first->Make().ok());
  OutputFolder second = Choose();
  EXPECT_THAT(std::string(second.Make().message()),
              ::testing::HasSubstr("another process is training into this folder"));
  first.reset();
  EXPECT_TRUE(second.Lock(0).ok());
}

TEST_F(OutputFolderTest, WithoutACurrentFolderOnlyAbsolutePathsWork) {
  unsetenv("BUILD_WORKING_DIRECTORY");
  const fs::path before = fs::current_path();
  const std::string gone = root_ + "/gone";
  ASSERT_TRUE(MakeDirectories(gone).ok());
  fs::current_path(gone);
  ASSERT_TRUE(fs::remove(gone));
  const auto nameless = OutputFolder::Choose(options_);
  options_.output_dir = root_ + "/there";
  const auto absolute = OutputFolder::Choose(options_);
  fs::current_path(before);
  EXPECT_THAT(std::string(nameless.status().message()),
              ::testing::HasSubstr("there is no current folder"));
  EXPECT_TRUE(absolute.ok()) << absolute.status();
}

TEST_F(OutputFolderTest, WhatCannotBeMadeIsNamed) {
  ASSERT_TRUE(WriteFileAtomically(root_ + "/runs", "a file").ok());
  const auto folder = OutputFolder::Choose(options_);
  ASSERT_FALSE(folder.ok());
  EXPECT_THAT(std::string(folder.status().message()), ::testing::HasSubstr(root_ + "/runs"));
}

}  // namespace
}  // namespace lockstep
