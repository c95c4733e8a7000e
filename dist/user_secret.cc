#include "dist/user_secret.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "dist/launchers.h"
#include "dist/store.h"

namespace lockstep::dist {
namespace {

// Our folder in the one that `variable` names, else in `otherwise` of the home folder.
std::string FolderOf(const Environment& environment, const std::string& variable,
                     const std::string& otherwise) {
  const std::string named = Text(environment, variable), home = Text(environment, "HOME");
  if (!named.empty()) return JoinPath(named, "lockstep");
  return home.empty() ? "" : JoinPath(home, otherwise + "/lockstep");
}

std::string ReadSecret(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return "";
  struct stat info;
  char text[kTokenBytes];
  const bool ours = fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_uid == geteuid() &&
                    (info.st_mode & 077) == 0;
  const bool whole = ours && read(fd, text, sizeof(text)) == sizeof(text);
  close(fd);
  return whole ? std::string(text, sizeof(text)) : "";
}

}  // namespace

std::string UserSecret(const Environment& environment) {
  const std::string folder = FolderOf(environment, "XDG_CACHE_HOME", ".cache");
  if (folder.empty() || !MakeDirectories(folder).ok()) return "";
  const std::string path = JoinPath(folder, "secret");
  if (std::string secret = ReadSecret(path); !secret.empty()) return secret;

  // Whole before it has its name; of several processes the first one wins.
  std::string temporary = absl::StrCat(path, ".tmp-XXXXXX");
  const int fd = mkostemp(temporary.data(), O_CLOEXEC);  // mode 0600
  if (fd < 0) return "";
  const std::string secret = RandomToken();
  const bool written =
      write(fd, secret.data(), secret.size()) == static_cast<ssize_t>(secret.size());
  close(fd);
  if (written) (void)!link(temporary.c_str(), path.c_str());
  unlink(temporary.c_str());
  return ReadSecret(path);
}

absl::StatusOr<std::string> SharedSecret(const Environment& environment) {
  const std::string folder = FolderOf(environment, "XDG_CONFIG_HOME", ".config");
  const std::string path = JoinPath(folder, "secret");
  // A home that this user may not enter, as in some containers, has no file of theirs.
  if (folder.empty() || access(path.c_str(), F_OK) != 0) return "";
  std::string secret = ReadSecret(path);
  if (!secret.empty()) return secret;
  return UserError(path,
                   absl::StrCat("want a file of yours with at least ", kTokenBytes,
                                " characters that nobody else can read, got another"),
                   "chmod 600 it, or remove it on every node");
}

}  // namespace lockstep::dist
