// A rank as the others know it: where it runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "dist/launch_env.h"

namespace lockstep::dist {

struct Member {
  int rank = 0, node = 0, local_rank = 0;
  std::string host;
  int64_t pid = 0;
  std::string gpu, device;  // as in WorldOptions
};

// As it lies in the store.
std::string Encode(const Member& member);
absl::StatusOr<Member> DecodeMember(const std::string& text);

// "host a pid 12 cuda:3 …".
std::string Describe(const Member& member);

// Ranks on `member`'s GPU, itself among them; 1 on a CPU.
int RanksOnGpuOf(const Member& member, const std::vector<Member>& members);

// Who is where, on which device, and whether others are there too; a line each, `most` of them, and
// who started them: for people.
std::string MemberTable(const std::vector<Member>& members, size_t most, const LaunchEnv& env);

}  // namespace lockstep::dist
