#include "base/file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>

#include "absl/strings/match.h"
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

// Before anything is written, and what is there stays.
TEST(FileTest, OnlyAFileIsWrittenOver) {
  const std::string folder = TempPath("a_folder"), pipe = TempPath("a_pipe");
  ASSERT_TRUE(MakeDirectories(folder).ok());
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_TRUE(absl::StrContains(AtomicFile::Create(folder).status().message(), "got a folder"));
  EXPECT_TRUE(
      absl::StrContains(AtomicFile::Create(pipe).status().message(), "got a device or a pipe"));
  struct stat info;
  ASSERT_EQ(stat(pipe.c_str(), &info), 0);
  EXPECT_TRUE(S_ISFIFO(info.st_mode));
}

TEST(FileTest, WithoutCommitNothingRemains) {
  const std::string folder = TempPath("uncommitted");
  ASSERT_TRUE(MakeDirectories(folder).ok());
  {
    const auto file = AtomicFile::Create(folder + "/file");
    ASSERT_TRUE((*file)->Append("half").ok());
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder));
}

// Of a file named by its folder, and of one in the current folder.
TEST(FileTest, RemainsAreRemovedWhereverTheFileIs) {
  const std::string folder = TempPath("remains");
  ASSERT_TRUE(MakeDirectories(folder).ok());
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder);
  for (const std::string& path : {folder + "/file", std::string("file")}) {
    for (const char* name : {"file", "file.tmp-abcdef", "file.tmp-ghijkl", "other.tmp-abcdef"}) {
      ASSERT_TRUE(WriteFileAtomically(name, "x").ok());
    }
    AtomicFile::RemoveRemains(path);
    std::set<std::string> left;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      left.insert(entry.path().filename());
    }
    EXPECT_EQ(left, (std::set<std::string>{"file", "other.tmp-abcdef"})) << path;
  }
  std::filesystem::current_path(before);
}

TEST(FileTest, PiecesOfAnySizeKeepTheirOrder) {
  const auto file = *AtomicFile::Create(TempPath("pieces"));
  std::string want;
  for (const size_t size : {1, 700'000, 700'000, 3, 2'000'000, 1 << 20, 5}) {
    const std::string piece(size, static_cast<char>('a' + want.size() % 26));
    ASSERT_TRUE(file->Append(piece).ok());
    want += piece;
  }
  std::string back;
  ASSERT_TRUE(file->ReadBack([&](absl::string_view piece) {
                    back.append(piece.data(), piece.size());
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_TRUE(back == want);
  ASSERT_TRUE(file->Append("end").ok());
  ASSERT_TRUE(file->CommitAs(TempPath("other")).ok());
  EXPECT_TRUE(*ReadFile(TempPath("other")) == want + "end");
  EXPECT_FALSE(FileExists(TempPath("pieces")));
}

TEST(FileTest, FilesHaveTheUsersUmask) {
  const std::string path = ::testing::TempDir() + "/umask";
  const mode_t before = umask(027);
  EXPECT_TRUE(WriteFileAtomically(path, "x").ok());
  EXPECT_EQ(umask(before), 027u) << "it was not touched";
  struct stat info;
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
}

// Nobody can lay a link where the next temporary file will be.
TEST(FileTest, TemporaryNamesAreUnpredictable) {
  const std::string folder = ::testing::TempDir() + "/temporary";
  ASSERT_TRUE(MakeDirectories(folder).ok());
  std::set<std::string> names;
  for (int i = 0; i < 8; ++i) {
    const auto file = AtomicFile::Create(folder + "/file");
    ASSERT_TRUE(file.ok()) << file.status();
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      names.insert(entry.path().filename());
    }
  }
  EXPECT_EQ(names.size(), 8u);
}

// Not so a file of which nobody can say whether it is there.
TEST(FileTest, WhatIsMissingDoesNotExist) {
  const std::string name = TempPath("goes_round");
  EXPECT_FALSE(FileExists(name));
  ASSERT_EQ(symlink("goes_round", name.c_str()), 0);
  EXPECT_TRUE(FileExists(JoinPath(name, "config.json")));
  EXPECT_TRUE(absl::StrContains(ReadFile(JoinPath(name, "config.json")).status().message(),
                                "Too many levels of symbolic links"));
  ASSERT_TRUE(WriteFileAtomically(TempPath("no_folder"), "").ok());
  EXPECT_FALSE(FileExists(TempPath("no_folder/config.json")));
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
  char bytes[4] = {};
  EXPECT_TRUE((*file)->ReadAt(2, 3, bytes).ok());
  EXPECT_STREQ(bytes, "ppe");
  EXPECT_FALSE((*file)->ReadAt(3, 4, bytes).ok()) << "it ends after 6 bytes";
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

TEST(FileTest, NamesOfAFolder) {
  for (const char* name : {"names/b", "names/a", "names/c/d"}) {
    ASSERT_TRUE(MakeDirectories(TempPath(name)).ok());
  }
  EXPECT_EQ(*NamesIn(TempPath("names")), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(*NamesIn(TempPath("names/a")), std::vector<std::string>());
  EXPECT_FALSE(NamesIn(TempPath("no_such")).ok());
  EXPECT_EQ(*PathsThatStartWith(TempPath("names/b")),
            std::vector<std::string>{TempPath("names/b")});
  EXPECT_EQ(PathsThatStartWith(TempPath("names/"))->size(), 3u);
  EXPECT_TRUE(PathsThatStartWith(TempPath("names/no_such"))->empty());
  EXPECT_FALSE(PathsThatStartWith(TempPath("no_such/a")).ok());
  ASSERT_TRUE(WriteFileAtomically(TempPath("no_folder"), "").ok());
  EXPECT_TRUE(absl::StrContains(NamesIn(TempPath("no_folder")).status().message(),
                                "/no_folder] cannot list: Not a directory"));
}

TEST(FileTest, JoinsPaths) {
  EXPECT_EQ(JoinPath("a", "b"), "a/b");
  EXPECT_EQ(JoinPath("a/", "b"), "a/b");
  EXPECT_EQ(JoinPath("a", "/b"), "/b");
  EXPECT_EQ(JoinPath("", "b"), "b");
}

}  // namespace
}  // namespace lockstep
