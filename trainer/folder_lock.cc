#include "trainer/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status.h"

namespace lockstep {

FolderLock::~FolderLock() {
  if (fd_ >= 0) close(fd_);
}

absl::Status FolderLock::Take(const std::string& folder, double seconds) {
  if (fd_ >= 0) return absl::OkStatus();
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return absl::OkStatus();
  const absl::Time end = absl::Now() + absl::Seconds(seconds);
  int error = 0;
  do {
    error = flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    if (error != EWOULDBLOCK && error != EINTR) break;
    absl::SleepFor(absl::Milliseconds(50));
  } while (absl::Now() < end);
  if (error == EWOULDBLOCK) {
    close(fd);
    return UserError(folder, "another process is training into this folder",
                     "wait for its end, or give another --output_dir");
  }
  fd_ = fd;
  return absl::OkStatus();
}

}  // namespace lockstep
