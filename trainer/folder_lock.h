// One run at a time in an output folder.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace lockstep {

// An advisory lock (flock) on a folder. It ends with the object or with its process, however that
// ends, so that nothing stays behind.
class FolderLock {
 public:
  FolderLock() = default;
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

  // Waits up to `seconds` for a process that is ending. A folder that does not exist yet, or whose
  // file system knows no locks, is not locked. Taking it once more changes nothing. Error: another
  // process has it.
  absl::Status Take(const std::string& folder, double seconds);

 private:
  int fd_ = -1;
};

}  // namespace lockstep
