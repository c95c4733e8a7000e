#include "trainer/folder_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"

namespace lockstep {
namespace {

TEST(FolderLockTest, OneAtATime) {
  const std::string folder = ::testing::TempDir() + "/folder";
  {
    FolderLock early;
    EXPECT_TRUE(early.Take(folder, 0).ok()) << "there is nothing to lock yet";
    ASSERT_TRUE(MakeDirectories(folder).ok());
    FolderLock first, second;
    EXPECT_TRUE(first.Take(folder, 0).ok());
    EXPECT_TRUE(first.Take(folder, 0).ok());
    EXPECT_THAT(std::string(second.Take(folder, 0).message()),
                ::testing::HasSubstr("another process is training into this folder"));
    EXPECT_FALSE(early.Take(folder, 0.1).ok());
  }
  FolderLock later;
  EXPECT_TRUE(later.Take(folder, 0).ok());
}

}  // namespace
}  // namespace lockstep
