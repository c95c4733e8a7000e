#include "base/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status.h"

namespace lockstep {

FileLock::~FileLock() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<bool> FileLock::TakeFile(const std::string& path, double seconds, Waiting waiting) {
  return Take(path, O_CREAT, seconds, waiting);
}

absl::StatusOr<bool> FileLock::TakeFolder(const std::string& path, double seconds,
                                          Waiting waiting) {
  return Take(path, O_DIRECTORY, seconds, waiting);
}

absl::StatusOr<bool> FileLock::Take(const std::string& path, int flags, double seconds,
                                    Waiting waiting) {
  if (held()) return true;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | flags, 0666);
  if (fd < 0) return SystemError(path, "cannot open", errno);
  const absl::Time start = absl::Now();
  while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    const double waited = absl::ToDoubleSeconds(absl::Now() - start);
    if (error == EWOULDBLOCK && waited < seconds) {
      waiting(waited);
      absl::SleepFor(absl::Milliseconds(50));
    } else if (error != EINTR) {
      close(fd);
      if (error == EWOULDBLOCK) return false;
      return SystemError(path, "cannot lock", error);
    }
  }
  fd_ = fd;
  return true;
}

}  // namespace lockstep
