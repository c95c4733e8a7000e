#include "trainer/report/tensorboard.h"

#include <dirent.h>
#include <gtest/gtest.h>

#include <cstring>

#include "absl/strings/match.h"
#include "base/file.h"

namespace lockstep {
namespace {

std::string OnlyFileOf(const std::string& directory) {
  std::string found;
  DIR* dir = opendir(directory.c_str());
  while (const dirent* entry = readdir(dir)) {
    if (absl::StartsWith(entry->d_name, "events.out.tfevents.")) found = entry->d_name;
  }
  closedir(dir);
  return directory + "/" + found;
}

TEST(Crc32cTest, CheckValueOfTheCatalogue) { EXPECT_EQ(Crc32c("123456789"), 0xE3069283u); }

TEST(EventFileTest, RecordsHaveLengthsAndChecksums) {
  const std::string directory = ::testing::TempDir() + "/tensorboard";
  {
    auto file = EventFile::Create(directory, 5);
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE((*file)->AddScalar("train/loss", 300, 0.5).ok());
  }
  const std::string bytes = *ReadFile(OnlyFileOf(directory));
  std::vector<std::string> events;
  for (size_t at = 0; at < bytes.size();) {
    uint64_t length;
    uint32_t crc;
    std::memcpy(&length, &bytes[at], 8);
    ASSERT_LE(at + 16 + length, bytes.size());
    const std::string data = bytes.substr(at + 12, length);
    std::memcpy(&crc, &bytes[at + 12 + length], 4);
    const uint32_t plain = crc - 0xA282EAD8u;
    EXPECT_EQ((plain << 15) | (plain >> 17), Crc32c(data));
    events.push_back(data);
    at += 16 + length;
  }
  ASSERT_EQ(events.size(), 3u);
  EXPECT_TRUE(absl::EndsWith(events[0],
                             "\x1A\x0D"
                             "brain.Event:2"));
  EXPECT_EQ(events[1].substr(9), "\x10\x05\x3A\x02\x08\x01");  // step 5, session_log {status START}
  // step 300, summary {value {tag "train/loss", simple_value 0.5f}}.
  const std::string want(
      "\x10\xAC\x02\x2A\x13\x0A\x11\x0A\x0A"
      "train/loss\x15\x00\x00\x00\x3F",
      3 + 2 + 2 + 2 + 10 + 5);
  EXPECT_EQ(events[2].substr(9), want);
}

}  // namespace
}  // namespace lockstep
