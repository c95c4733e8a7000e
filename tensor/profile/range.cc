#include "tensor/profile/range.h"

#include <utility>

#include "tensor/profile/activity.h"
#include "tensor/profile/nvtx.h"

namespace lockstep::profile {
namespace {

bool recording = false;
std::vector<HostRange> recorded;

}  // namespace

Range::Range(std::string name) : name_(std::move(name)) {
  PushNvtx(name_.c_str());
  if (recording) start_us_ = NowUs();
}

Range::~Range() {
  PopNvtx();
  if (recording && start_us_ > 0) recorded.push_back({std::move(name_), start_us_, NowUs()});
}

void StartRecordingRanges() { recording = true; }

std::vector<HostRange> StopRecordingRanges() {
  recording = false;
  return std::exchange(recorded, {});
}

}  // namespace lockstep::profile
