#include "base/file_lock.h"

#include <gtest/gtest.h>

#include <memory>

#include "base/file.h"

namespace lockstep {
namespace {

TEST(FileLockTest, OneAtATime) {
  const std::string folder = ::testing::TempDir() + "/folder";
  ASSERT_TRUE(MakeDirectories(folder).ok());
  {
    FileLock first, second;
    EXPECT_TRUE(*first.TakeFolder(folder, 0));
    EXPECT_TRUE(*first.TakeFolder(folder, 0)) << "it is held already";
    EXPECT_FALSE(*second.TakeFolder(folder, 0));
    EXPECT_FALSE(second.held());
  }
  FileLock later;
  EXPECT_TRUE(*later.TakeFolder(folder, 0));
}

TEST(FileLockTest, WaitsForTheOtherAndSaysSo) {
  const std::string path = ::testing::TempDir() + "/file";
  auto first = std::make_unique<FileLock>();
  ASSERT_TRUE(*first->TakeFile(path, 0));
  FileLock second;
  int calls = 0;
  EXPECT_TRUE(*second.TakeFile(path, 1e6, [&](double) {
    if (++calls == 2) first.reset();
  }));
  EXPECT_EQ(calls, 2);
}

TEST(FileLockTest, AFolderMustBeThere) {
  const std::string path = ::testing::TempDir() + "/nothing";
  FileLock lock;
  EXPECT_FALSE(lock.TakeFolder(path, 0).ok());
  EXPECT_FALSE(lock.held());
  EXPECT_FALSE(FileExists(path));
}

}  // namespace
}  // namespace lockstep
