// One process at a time.
#pragma once

#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"

namespace lockstep {

// An exclusive lock (flock) on a file or folder. It is advisory, and ends with the object or with
// its process, however that ends.
class FileLock {
 public:
  using Waiting = absl::FunctionRef<void(double seconds)>;

  FileLock() = default;
  ~FileLock();
  FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileLock& operator=(FileLock&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }

  bool held() const { return fd_ >= 0; }

  // Whether it is held then: waits up to `seconds` while another process has it, and calls
  // `waiting` with the seconds so far. A file that is not there is made; a folder must be there.
  // Taking what is held changes nothing. Errors: it cannot be opened; its file system has no locks.
  absl::StatusOr<bool> TakeFile(
      const std::string& path, double seconds, Waiting waiting = [](double) {});
  absl::StatusOr<bool> TakeFolder(
      const std::string& path, double seconds, Waiting waiting = [](double) {});

 private:
  absl::StatusOr<bool> Take(const std::string& path, int flags, double seconds, Waiting waiting);
  int fd_ = -1;
};

}  // namespace lockstep
