#include "tests/process_faults.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/check.h"
#include "base/file.h"

namespace lockstep {
namespace {

// The processes of a group, those that have ended left out.
std::vector<pid_t> Members(pid_t group) {
  std::vector<pid_t> members;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    pid_t pid = 0;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &pid)) continue;
    const std::string stat = ReadFile(absl::StrCat("/proc/", pid, "/stat")).value_or("");
    const size_t name_end = stat.rfind(')');  // pid (name) state parent group …
    if (name_end == std::string::npos) continue;
    const std::vector<std::string> fields = absl::StrSplit(stat.substr(name_end + 2), ' ');
    if (fields[2] == absl::StrCat(group) && fields[0] != "Z" && fields[0] != "X") {
      members.push_back(pid);
    }
  }
  return members;
}

struct Range {
  uint64_t begin, end;
};

// The process's private readable memory, libraries left out.
std::vector<Range> PrivateMemory(pid_t pid) {
  std::vector<Range> ranges;
  std::ifstream maps(absl::StrCat("/proc/", pid, "/maps"));
  for (std::string line; std::getline(maps, line);) {
    unsigned long begin = 0, end = 0;  // NOLINT(runtime/int): sscanf
    char permissions[5] = "";
    if (std::sscanf(line.c_str(), "%lx-%lx %4s", &begin, &end, permissions) != 3) continue;
    const bool ours = permissions[0] == 'r' && permissions[3] == 'p';
    const bool has_data = !absl::StrContains(line, "[v") && !absl::StrContains(line, ".so");
    if (ours && has_data) ranges.push_back({begin, end});
  }
  return ranges;
}

}  // namespace

pid_t RankProcessId(pid_t group, int rank) {
  const std::string variable = absl::StrCat("RANK=", rank);
  for (const pid_t pid : Members(group)) {
    const std::string environment = ReadFile(absl::StrCat("/proc/", pid, "/environ")).value_or("");
    for (const absl::string_view entry : absl::StrSplit(environment, '\0')) {
      if (entry == variable) return pid;
    }
  }
  return -1;
}

bool GroupLives(pid_t group) { return !Members(group).empty(); }

int ReplaceInMemory(pid_t pid, const std::string& bytes, const std::string& replacement) {
  CHECK_EQ(bytes.size(), replacement.size());
  const int memory = open(absl::StrCat("/proc/", pid, "/mem").c_str(), O_RDWR | O_CLOEXEC);
  PCHECK(memory >= 0);
  const absl::Cleanup close_memory = [memory] { close(memory); };
  int found = 0;
  // In pieces, each of which begins with what at the end of the one before was too short.
  constexpr size_t kPiece = size_t{16} << 20;
  std::string piece(kPiece, '\0');
  for (const Range& range : PrivateMemory(pid)) {
    for (uint64_t begin = range.begin; begin + bytes.size() <= range.end;) {
      const size_t wanted = std::min<uint64_t>(kPiece, range.end - begin);
      const ssize_t got = pread(memory, piece.data(), wanted, static_cast<off_t>(begin));
      if (got < static_cast<ssize_t>(bytes.size())) break;
      const std::string_view content(piece.data(), static_cast<size_t>(got));
      for (size_t at = content.find(bytes); at != content.npos;
           at = content.find(bytes, at + bytes.size())) {
        found += pwrite(memory, replacement.data(), replacement.size(),
                        static_cast<off_t>(begin + at)) > 0;
      }
      begin += content.size() - bytes.size() + 1;
    }
  }
  return found;
}

bool CanCutConnections() {
  const int self = static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0));
  const absl::Cleanup close_self = [self] { close(self); };
  const int copy = static_cast<int>(syscall(SYS_pidfd_getfd, self, self, 0));
  return copy >= 0 && close(copy) == 0;
}

int CutConnections(pid_t pid) {
  const int process = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  PCHECK(process >= 0);
  const absl::Cleanup close_process = [process] { close(process); };
  int cut = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(absl::StrCat("/proc/", pid, "/fd"))) {
    int number = 0;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &number)) continue;
    const int copy = static_cast<int>(syscall(SYS_pidfd_getfd, process, number, 0));
    if (copy < 0) continue;  // closed meanwhile
    sockaddr_storage peer;
    socklen_t size = sizeof(peer);
    const bool connected = getpeername(copy, reinterpret_cast<sockaddr*>(&peer), &size) == 0;
    if (connected && (peer.ss_family == AF_INET || peer.ss_family == AF_INET6)) {
      cut += shutdown(copy, SHUT_RDWR) == 0;
    }
    close(copy);
  }
  return cut;
}

}  // namespace lockstep
