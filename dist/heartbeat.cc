#include "dist/heartbeat.h"

#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/progress.h"
#include "base/status.h"
#include "dist/store_keys.h"

namespace lockstep::dist {

std::string EncodeBeat(const Beat& beat) {
  const Progress& p = beat.progress;
  return absl::StrJoin(
      {absl::StrCat(beat.rank), absl::StrCat(beat.number), absl::StrCat(beat.changes),
       absl::CEscape(p.phase), absl::StrCat(p.step), absl::StrCat(p.pack), absl::StrCat(p.bucket),
       absl::StrCat(beat.position.submitted), absl::StrCat(beat.position.completed),
       absl::CEscape(beat.position.current), absl::CEscape(beat.host), absl::StrCat(beat.pid),
       absl::CEscape(beat.device)},
      "\n");
}

absl::StatusOr<Beat> DecodeBeat(absl::string_view text) {
  const std::vector<std::string> lines = absl::StrSplit(text, '\n');
  Beat beat;
  Progress& p = beat.progress;
  if (lines.size() != 13 || !absl::SimpleAtoi(lines[0], &beat.rank) ||
      !absl::SimpleAtoi(lines[1], &beat.number) || !absl::SimpleAtoi(lines[2], &beat.changes) ||
      !absl::CUnescape(lines[3], &p.phase) || !absl::SimpleAtoi(lines[4], &p.step) ||
      !absl::SimpleAtoi(lines[5], &p.pack) || !absl::SimpleAtoi(lines[6], &p.bucket) ||
      !absl::SimpleAtoi(lines[7], &beat.position.submitted) ||
      !absl::SimpleAtoi(lines[8], &beat.position.completed) ||
      !absl::CUnescape(lines[9], &beat.position.current) ||
      !absl::CUnescape(lines[10], &beat.host) || !absl::SimpleAtoi(lines[11], &beat.pid) ||
      !absl::CUnescape(lines[12], &beat.device)) {
    return absl::InvalidArgumentError("malformed heartbeat");
  }
  return beat;
}

std::string Describe(const Beat& beat) {
  const Progress& p = beat.progress;
  std::string text = p.step >= 0 ? absl::StrCat("step ", p.step, ", ", p.phase) : p.phase;
  if (p.pack >= 0) absl::StrAppend(&text, ", pack ", p.pack);
  if (p.bucket >= 0) absl::StrAppend(&text, ", bucket ", p.bucket);
  if (!beat.position.current.empty()) {
    absl::StrAppend(&text, ", waits in ", beat.position.current, " (collective ",
                    beat.position.completed + 1, ")");
  }
  return text;
}

absl::StatusOr<std::map<int, Beat>> ReadBeats(StoreClient& store) {
  ASSIGN_OR_RETURN(const auto entries, store.List(kBeatPrefix));
  std::map<int, Beat> beats;
  for (const auto& [key, text] : entries) {
    ASSIGN_OR_RETURN(const Beat beat, DecodeBeat(text));
    beats[beat.rank] = beat;
  }
  return beats;
}

Heartbeat::Heartbeat(Publish publish, double interval_seconds)
    : publish_(std::move(publish)),
      interval_seconds_(interval_seconds),
      thread_([this] { Run(); }) {}

Heartbeat::~Heartbeat() { Stop(); }

void Heartbeat::Report(const Progress& progress) {
  const std::lock_guard<std::mutex> lock(mutex_);
  progress_ = progress;
  ++changes_;
}

void Heartbeat::Stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Heartbeat::Run() {
  Beat beat;
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    const bool last = stopping_;
    ++beat.number;
    beat.changes = changes_ + ProgressMarks();
    beat.progress = progress_;
    lock.unlock();
    publish_(beat);
    lock.lock();
    if (last) return;
    wake_.wait_for(lock, std::chrono::duration<double>(interval_seconds_),
                   [this] { return stopping_; });
  }
}

}  // namespace lockstep::dist
