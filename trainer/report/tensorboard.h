// TensorBoard event files: scalars over steps.
//
// A file is a sequence of records
//   u64 length | u32 masked crc32c of those 8 bytes | data | u32 masked crc32c of the data
// (little endian), each datum a protocol buffer `Event`; the first says "brain.Event:2". Sources:
// tensorboard's record_writer.py and event.proto. A resumed run opens a new file in the same
// folder, whose second event (SessionLog START) lets readers forget what an earlier file has of the
// steps that are done again.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lockstep {

// CRC-32C (Castagnoli: reflected polynomial 0x82F63B78), e.g. "123456789" → 0xE3069283.
uint32_t Crc32c(absl::string_view bytes);

class EventFile {
 public:
  // Makes the folder and a new events.out.tfevents.* in it, for `first_step` and later ones.
  static absl::StatusOr<std::unique_ptr<EventFile>> Create(const std::string& directory,
                                                           int64_t first_step);
  ~EventFile();
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;

  // One point of the curve `tag`; flushed at once.
  absl::Status AddScalar(absl::string_view tag, int64_t step, double value);

 private:
  EventFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  absl::Status WriteRecord(const std::string& event);

  const std::string path_;
  const int fd_;
};

}  // namespace lockstep
