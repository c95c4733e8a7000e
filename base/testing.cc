#include "base/testing.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/check.h"
#include "base/file.h"

namespace lockstep {

std::string FreshFolder(const std::string& name) {
  const std::string folder = JoinPath(::testing::TempDir(), name);
  std::filesystem::remove_all(folder);
  CHECK(MakeDirectories(folder).ok()) << folder;
  return folder;
}

std::string FreshFolder() {
  return FreshFolder(::testing::UnitTest::GetInstance()->current_test_info()->name());
}

}  // namespace lockstep
