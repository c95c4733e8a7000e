// What launchers other than we ourselves say, by their variables (launch_env.h lists them).
#pragma once

#include <initializer_list>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "dist/launch_env.h"

namespace lockstep::dist {

inline constexpr int kDefaultPort = 29500;  // torchrun's

// What a launcher says about one of its processes.
struct Launcher {
  std::string name;
  int rank = 0, size = 1, local_rank = 0, local_size = 1, node = 0, num_nodes = 1;
  std::string master_addr;  // "" where it names none
  int port = kDefaultPort;
  std::string said_by;  // the variables that were there
  std::string job;      // tells this run from others
  bool stale = false;   // the variables may be left over: no launcher need be there
};

// The launcher that started this process, if one did. A UserError names the variable at fault.
absl::StatusOr<std::optional<Launcher>> FindLauncher(const Environment& env);

// Reading variables. One that is empty counts as not set.
bool Has(const Environment& environment, const std::string& name);
std::string Text(const Environment& environment, const std::string& name);
inline constexpr bool kRequired = true, kOptional = false;
// `*value` is the variable's number, at least `least`; unchanged where an optional one is not set.
absl::Status Number(const Environment& environment, const std::string& name, int least,
                    bool required, int* value);
// Those of `names` that are set.
std::string Present(const Environment& environment, std::initializer_list<const char*> names);

bool IsLoopback(absl::string_view address);

}  // namespace lockstep::dist
