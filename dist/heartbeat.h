// What a rank says about itself a few times a second.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "dist/communicator.h"
#include "dist/store.h"

namespace lockstep::dist {

// Where a rank is. -1: does not apply.
struct Progress {
  std::string phase = "start";  // one word: "load", "forward", "backward", "evaluate", "save" …
  int64_t step = -1;
  int64_t pack = -1;
  int64_t bucket = -1;
};

// One beat, as it lies in the store.
struct Beat {
  int rank = 0;
  int64_t number = 0;   // of the beat: stands still when the process is stopped or its host is gone
  int64_t changes = 0;  // reports, and marks of progress: stand still when the rank is stuck
  Progress progress;
  Communicator::Position position;
  std::string host;
  int64_t pid = 0;
  std::string device;
};
std::string EncodeBeat(const Beat& beat);
absl::StatusOr<Beat> DecodeBeat(absl::string_view text);

// "step 12, backward, pack 3, bucket 1" and, if a collective is pending, "waits in all_reduce …".
std::string Describe(const Beat& beat);

// The newest beat of every rank that has joined.
absl::StatusOr<std::map<int, Beat>> ReadBeats(StoreClient& store);

// Unless the user says otherwise.
inline constexpr double kStallTimeoutSeconds = 60;

// Publishes beats from a thread of its own. Report() only stores what it is given, so call it at
// every pack. A run in which for stall_timeout no rank calls it, none completes a collective, and
// none marks progress (base/progress.h), has stalled.
class Heartbeat {
 public:
  // `publish` is called every `interval_seconds` in the heartbeat's thread with the latest beat
  // (number, changes, progress; the publisher adds the rest).
  using Publish = std::function<void(const Beat& beat)>;
  Heartbeat(Publish publish, double interval_seconds);
  ~Heartbeat();
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

  // From any thread.
  void Report(const Progress& progress);

  // Publishes at once and no more; for an orderly end.
  void Stop();

 private:
  void Run();

  const Publish publish_;
  const double interval_seconds_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  int64_t changes_ = 0;
  Progress progress_;
  std::thread thread_;
};

}  // namespace lockstep::dist
