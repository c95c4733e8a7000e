#include "dist/heartbeat.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "base/progress.h"

namespace lockstep::dist {
namespace {

TEST(Beat, SurvivesTheStore) {
  Beat beat;
  beat.rank = 3;
  beat.number = 17;
  beat.changes = 5;
  beat.progress = {"back\nward", 12, 2, 1};
  beat.position = {9, 8, "all_reduce bucket 1"};
  beat.host = "node\\7";
  beat.pid = 4711;
  beat.device = "cuda:3";
  const absl::StatusOr<Beat> copy = DecodeBeat(EncodeBeat(beat));
  ASSERT_TRUE(copy.ok());
  EXPECT_EQ(EncodeBeat(*copy), EncodeBeat(beat));
  EXPECT_EQ(copy->progress.phase, "back\nward");
  EXPECT_EQ(copy->position.current, "all_reduce bucket 1");
  EXPECT_FALSE(DecodeBeat("1\n2\n3").ok());
  EXPECT_FALSE(DecodeBeat("").ok());
}

TEST(Beat, Describe) {
  Beat beat;
  EXPECT_EQ(Describe(beat), "start");
  beat.progress = {"backward", 12, 3, -1};
  beat.position = {9, 8, "all_reduce bucket 1"};
  EXPECT_EQ(Describe(beat),
            "step 12, backward, pack 3, waits in all_reduce bucket 1 (collective 9)");
}

TEST(Heartbeat, PublishesWhatWasReportedAndOnceMoreAtTheEnd) {
  std::mutex mutex;
  std::vector<Beat> beats;
  {
    Heartbeat heartbeat(
        [&](const Beat& beat) {
          const std::lock_guard<std::mutex> lock(mutex);
          beats.push_back(beat);
        },
        0.001);
    heartbeat.Report({"forward", 1});
    while (true) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      const std::lock_guard<std::mutex> lock(mutex);
      if (beats.size() > 3 && beats.back().changes == 1) break;
    }
    heartbeat.Report({"backward", 1});
    MarkProgress();
  }
  EXPECT_EQ(beats.back().changes, 3);
  EXPECT_EQ(beats.back().progress.phase, "backward");
  for (size_t i = 1; i < beats.size(); ++i) EXPECT_EQ(beats[i].number, beats[i - 1].number + 1);
}

}  // namespace
}  // namespace lockstep::dist
