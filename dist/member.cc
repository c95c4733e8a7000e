#include "dist/member.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace lockstep::dist {
namespace {

constexpr char kSeparator = '\t';

}  // namespace

std::string Encode(const Member& m) {
  return absl::StrJoin({absl::StrCat(m.rank), absl::StrCat(m.node), absl::StrCat(m.local_rank),
                        m.host, absl::StrCat(m.pid), m.gpu, m.device},
                       std::string(1, kSeparator));
}

absl::StatusOr<Member> DecodeMember(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, absl::MaxSplits(kSeparator, 6));
  Member m;
  if (parts.size() != 7 || !absl::SimpleAtoi(parts[0], &m.rank) ||
      !absl::SimpleAtoi(parts[1], &m.node) || !absl::SimpleAtoi(parts[2], &m.local_rank) ||
      !absl::SimpleAtoi(parts[4], &m.pid)) {
    return absl::InternalError("malformed member");
  }
  m.host = parts[3];
  m.gpu = parts[5];
  m.device = parts[6];
  return m;
}

std::string Describe(const Member& m) {
  return absl::StrCat("host ", m.host, " pid ", m.pid, " ", m.device);
}

int RanksOnGpuOf(const Member& member, const std::vector<Member>& members) {
  if (member.gpu.empty()) return 1;
  return static_cast<int>(std::count_if(members.begin(), members.end(),
                                        [&](const Member& m) { return m.gpu == member.gpu; }));
}

std::string MemberTable(const std::vector<Member>& members, size_t most, const LaunchEnv& env) {
  size_t host = 4;
  for (const Member& m : members) host = std::max(host, m.host.size());
  std::string table =
      absl::StrFormat("rank  node  local  %-*s  %8s  device\n", host, "host", "pid");
  for (const Member& m : members) {
    if (most-- == 0) {
      absl::StrAppend(&table, "…\n");
      break;
    }
    const int sharing = RanksOnGpuOf(m, members);
    absl::StrAppendFormat(&table, "%4d  %4d  %5d  %-*s  %8d  %s%s\n", m.rank, m.node, m.local_rank,
                          host, m.host, m.pid, m.device,
                          sharing > 1 ? absl::StrCat(", shared by ", sharing, " ranks") : "");
  }
  return absl::StrCat(table, "started ", absl::StartsWith(env.launch, "by ") ? "" : "by ",
                      env.launch, "; store at ", env.master_addr, ":", env.master_port);
}

}  // namespace lockstep::dist
