#include "dist/user_secret.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"

namespace lockstep::dist {
namespace {

Environment Fresh() {
  static int count = 0;
  return {{"XDG_CACHE_HOME", absl::StrCat(::testing::TempDir(), "/cache", ++count)}};
}
std::string PathIn(const Environment& environment) {
  return environment.at("XDG_CACHE_HOME") + "/lockstep/secret";
}

TEST(UserSecretTest, IsMadeOnceAndOnlyTheUserCanReadIt) {
  const Environment environment = Fresh();
  const mode_t before = umask(0);
  const std::string secret = UserSecret(environment);
  umask(before);
  EXPECT_EQ(secret.size(), 32u);
  EXPECT_EQ(UserSecret(environment), secret);
  struct stat info;
  ASSERT_EQ(stat(PathIn(environment).c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_NE(UserSecret(Fresh()), secret);
}

TEST(UserSecretTest, ProcessesThatComeTogetherAgree) {
  const Environment environment = Fresh();
  std::vector<std::string> found(8);
  std::vector<std::thread> threads;
  for (std::string& secret : found) {
    threads.emplace_back([&] { secret = UserSecret(environment); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(std::set<std::string>(found.begin(), found.end()).size(), 1u);
  EXPECT_EQ(found[0].size(), 32u);
}

TEST(UserSecretTest, WhatOthersCanReadOrHaveLinkedIsNoSecret) {
  const Environment readable = Fresh();
  EXPECT_NE(UserSecret(readable), "");
  ASSERT_EQ(chmod(PathIn(readable).c_str(), 0644), 0);
  EXPECT_EQ(UserSecret(readable), "");

  const Environment linked = Fresh();
  ASSERT_TRUE(MakeDirectories(linked.at("XDG_CACHE_HOME") + "/lockstep").ok());
  const std::string elsewhere = ::testing::TempDir() + "/elsewhere";
  ASSERT_TRUE(WriteFileAtomically(elsewhere, std::string(32, 'x')).ok());
  ASSERT_EQ(chmod(elsewhere.c_str(), 0600), 0);
  ASSERT_EQ(symlink(elsewhere.c_str(), PathIn(linked).c_str()), 0);
  EXPECT_EQ(UserSecret(linked), "");
  EXPECT_EQ(UserSecret({}), "");
}

TEST(SharedSecretTest, IsWhatTheUserHasPutThere) {
  const std::string config = ::testing::TempDir() + "/config";
  const Environment environment = {{"XDG_CONFIG_HOME", config}};
  EXPECT_EQ(*SharedSecret(environment), "") << "none is made";
  EXPECT_FALSE(FileExists(config));

  const std::string path = config + "/lockstep/secret";
  ASSERT_TRUE(MakeDirectories(config + "/lockstep").ok());
  const std::string secret = "0123456789abcdef0123456789abcdef";
  const auto put = [&](const std::string& content, mode_t mode) {
    ASSERT_TRUE(WriteFileAtomically(path, content).ok());
    ASSERT_EQ(chmod(path.c_str(), mode), 0);
  };
  put(secret + "\n", 0600);
  EXPECT_EQ(*SharedSecret(environment), secret);
  put(secret, 0640);
  EXPECT_FALSE(SharedSecret(environment).ok()) << "others can read it";
  put("short", 0600);
  EXPECT_FALSE(SharedSecret(environment).ok());
}

// As in a container whose HOME is root's, for another user.
TEST(SharedSecretTest, AHomeThatCannotBeEnteredHasNone) {
  const std::string home = ::testing::TempDir() + "/goes_round";
  ASSERT_EQ(symlink("goes_round", home.c_str()), 0);
  EXPECT_EQ(*SharedSecret({{"HOME", home}}), "");
}

}  // namespace
}  // namespace lockstep::dist
