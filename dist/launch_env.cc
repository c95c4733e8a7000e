#include "dist/launch_env.h"

#include <unistd.h>

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/hash.h"
#include "base/status.h"
#include "dist/launchers.h"
#include "dist/user_secret.h"

namespace lockstep::dist {
namespace {

constexpr int kPortCandidates = 16;

// The parent's variables beside RANK, LOCAL_RANK, WORLD_SIZE and LOCAL_WORLD_SIZE.
constexpr char kStoreAddress[] = "LOCKSTEP_STORE_ADDR";
constexpr char kStorePort[] = "LOCKSTEP_STORE_PORT";
constexpr char kToken[] = "LOCKSTEP_TOKEN";
constexpr char kNode[] = "LOCKSTEP_NODE";
constexpr char kNumNodes[] = "LOCKSTEP_NUM_NODES";
constexpr char kLaunch[] = "LOCKSTEP_LAUNCH";

absl::StatusOr<LaunchEnv> FromParent(const Environment& variables) {
  LaunchEnv env;
  env.role = Role::kRank;
  env.source = "our parent";
  env.has_parent = true;
  env.master_addr = Text(variables, kStoreAddress);
  env.token = Text(variables, kToken);
  env.launch = Text(variables, kLaunch);
  RETURN_IF_ERROR(Number(variables, "RANK", 0, kRequired, &env.rank));
  RETURN_IF_ERROR(Number(variables, "LOCAL_RANK", 0, kRequired, &env.local_rank));
  RETURN_IF_ERROR(Number(variables, "WORLD_SIZE", 1, kRequired, &env.world_size));
  RETURN_IF_ERROR(Number(variables, "LOCAL_WORLD_SIZE", 1, kRequired, &env.local_world_size));
  RETURN_IF_ERROR(Number(variables, kStorePort, 1, kRequired, &env.master_port));
  RETURN_IF_ERROR(Number(variables, kNode, 0, kRequired, &env.node));
  RETURN_IF_ERROR(Number(variables, kNumNodes, 1, kRequired, &env.num_nodes));
  return env;
}

// Where the store is and what it asks for, for a run that no parent of ours started.
absl::Status ResolveMeetingPoint(const Environment& variables, const LaunchFlags& flags,
                                 const std::string& launcher_addr, int launcher_port,
                                 absl::string_view job, LaunchEnv* env) {
  env->master_addr = flags.master_addr.empty() ? launcher_addr : flags.master_addr;
  env->master_port = flags.master_port.value_or(launcher_port);
  env->port_candidates = kPortCandidates;
  if (env->num_nodes == 1) {
    env->master_addr = "127.0.0.1";  // nobody else needs to reach it
  } else if (env->master_addr.empty()) {
    return UserError("--master_addr",
                     absl::StrCat(env->num_nodes, " nodes: want the address of node 0, got none"),
                     "give --master_addr (or the variable MASTER_ADDR) on every node");
  } else if (IsLoopback(env->master_addr)) {
    return UserError(flags.master_addr.empty() ? "MASTER_ADDR" : "--master_addr",
                     absl::StrCat(env->num_nodes, " nodes: want node 0's address, got ",
                                  env->master_addr, ", which on each node is the node itself"),
                     "name the address by which the other nodes reach node 0");
  }
  // Other nodes may have other home folders: there a secret counts that the user has put into each.
  absl::StatusOr<std::string> secret =
      env->num_nodes == 1 ? UserSecret(variables) : SharedSecret(variables);
  RETURN_IF_ERROR(secret.status());
  env->token =
      Has(variables, "LOCKSTEP_RUN_TOKEN")
          ? Text(variables, "LOCKSTEP_RUN_TOKEN").substr(0, 32)
          : HashHex(absl::StrCat(*secret, "|", env->source, "|", job, "|", env->master_addr));
  return absl::OkStatus();
}

std::string LaunchOf(const Launcher& l, const LaunchFlags& flags) {
  std::vector<std::string> said_by = {l.said_by};
  if (l.said_by.empty()) said_by.clear();
  if (flags.nproc_per_node) said_by.push_back("--nproc_per_node");
  if (flags.nnodes) said_by.push_back("--nnodes");
  if (flags.node_rank) said_by.push_back("--node_rank");
  if (!flags.master_addr.empty()) said_by.push_back("--master_addr");
  if (flags.master_port) said_by.push_back("--master_port");
  return absl::StrCat(l.name, said_by.empty() ? "" : ": ", absl::StrJoin(said_by, " "));
}

// This process is the parent of a node's ranks.
absl::StatusOr<LaunchEnv> AsParent(const Environment& variables, const LaunchFlags& flags,
                                   const Launcher& nodes) {
  LaunchEnv env;
  env.source = nodes.name;
  env.launch = LaunchOf(nodes, flags);
  env.local_world_size = flags.nproc_per_node.value_or(flags.default_nproc_per_node);
  env.num_nodes = nodes.num_nodes;
  env.node = nodes.node;
  env.world_size = env.num_nodes * env.local_world_size;
  env.rank = env.node * env.local_world_size;
  if (env.num_nodes == 1) {
    env.master_port = flags.master_port.value_or(0);
    return env;  // the parent draws the token and takes any free port
  }
  RETURN_IF_ERROR(
      ResolveMeetingPoint(variables, flags, nodes.master_addr, nodes.port, nodes.job, &env));
  return env;
}

absl::StatusOr<LaunchEnv> ByHand(const Environment& variables, const LaunchFlags& flags) {
  Launcher nodes;
  nodes.name = "by hand";
  nodes.num_nodes = flags.nnodes.value_or(1);
  if (nodes.num_nodes > 1 && !flags.node_rank.has_value()) {
    return UserError("--node_rank",
                     absl::StrCat("--nnodes=", nodes.num_nodes, ": want 0 to ", nodes.num_nodes - 1,
                                  ", got nothing"),
                     "without it every node would take itself for node 0");
  }
  nodes.node = flags.node_rank.value_or(0);
  if (nodes.node >= nodes.num_nodes) {
    return UserError("--node_rank",
                     absl::StrCat("want below --nnodes=", nodes.num_nodes, ", got ", nodes.node),
                     "nodes are numbered from 0");
  }
  nodes.master_addr = Text(variables, "MASTER_ADDR");
  nodes.said_by = Present(variables, {"MASTER_ADDR"});
  return AsParent(variables, flags, nodes);
}

// Flags that say something else than a launcher. It cannot be obeyed together with the launcher's.
std::string Contradiction(const LaunchFlags& flags, const Launcher& l) {
  if (flags.nproc_per_node && *flags.nproc_per_node != l.local_size && l.local_size > 1) {
    return absl::StrCat("--nproc_per_node=", *flags.nproc_per_node, ", but it started ",
                        l.local_size, " ranks on this node");
  }
  if (flags.nnodes && *flags.nnodes != l.num_nodes) {
    return absl::StrCat("--nnodes=", *flags.nnodes, ", but it started ", l.num_nodes);
  }
  if (flags.node_rank && *flags.node_rank != l.node) {
    return absl::StrCat("--node_rank=", *flags.node_rank, ", but it says node ", l.node);
  }
  return "";
}

absl::Status CheckFlags(const LaunchFlags& flags) {
  const std::pair<const char*, std::pair<std::optional<int>, int>> least[] = {
      {"--nproc_per_node", {flags.nproc_per_node, 1}},
      {"--nnodes", {flags.nnodes, 1}},
      {"--node_rank", {flags.node_rank, 0}},
      {"--master_port", {flags.master_port, 1}}};
  for (const auto& [name, bound] : least) {
    if (bound.first && *bound.first < bound.second) {
      return UserError(name, absl::StrCat("want at least ", bound.second, ", got ", *bound.first),
                       "--help says what the flag means");
    }
  }
  if (flags.master_port && *flags.master_port > 65535) {
    return UserError("--master_port", absl::StrCat("want at most 65535, got ", *flags.master_port),
                     "any port that is free on node 0");
  }
  return absl::OkStatus();
}

}  // namespace

Environment ReadEnvironment() {
  Environment environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const absl::string_view text = *entry;
    const size_t equals = text.find('=');
    if (equals == absl::string_view::npos) continue;
    environment.emplace(std::string(text.substr(0, equals)), std::string(text.substr(equals + 1)));
  }
  return environment;
}

absl::StatusOr<LaunchEnv> ResolveLaunch(const Environment& environment, const LaunchFlags& flags) {
  if (Has(environment, kToken)) return FromParent(environment);
  RETURN_IF_ERROR(CheckFlags(flags));
  ASSIGN_OR_RETURN(const std::optional<Launcher> launcher, FindLauncher(environment));
  if (!launcher) return ByHand(environment, flags);

  const std::string contradiction = Contradiction(flags, *launcher);
  if (!contradiction.empty()) {
    if (launcher->stale) return ByHand(environment, flags);
    return UserError(absl::StrCat("launch by ", launcher->name), contradiction,
                     "leave the flag out: the launcher decides");
  }
  if (flags.nproc_per_node && *flags.nproc_per_node != launcher->local_size) {
    return AsParent(environment, flags, *launcher);
  }
  LaunchEnv env;
  env.role = Role::kRank;
  env.source = launcher->name;
  env.launch = LaunchOf(*launcher, flags);
  env.rank = launcher->rank;
  env.local_rank = launcher->local_rank;
  env.world_size = launcher->size;
  env.local_world_size = launcher->local_size;
  env.node = launcher->node;
  env.num_nodes = launcher->num_nodes;
  RETURN_IF_ERROR(ResolveMeetingPoint(environment, flags, launcher->master_addr, launcher->port,
                                      launcher->job, &env));
  return env;
}

Environment VariablesFor(const LaunchEnv& rank) {
  return {{"RANK", absl::StrCat(rank.rank)},
          {"LOCAL_RANK", absl::StrCat(rank.local_rank)},
          {"WORLD_SIZE", absl::StrCat(rank.world_size)},
          {"LOCAL_WORLD_SIZE", absl::StrCat(rank.local_world_size)},
          {kStoreAddress, rank.master_addr},
          {kStorePort, absl::StrCat(rank.master_port)},
          {kToken, rank.token},
          {kNode, absl::StrCat(rank.node)},
          {kNumNodes, absl::StrCat(rank.num_nodes)},
          {kLaunch, rank.launch}};
}

std::string Describe(const LaunchEnv& env) {
  const std::string who = env.role == Role::kParent
                              ? absl::StrFormat("parent of ranks %d to %d", env.rank,
                                                env.rank + env.local_world_size - 1)
                              : absl::StrFormat("rank %d of %d, local rank %d", env.rank,
                                                env.world_size, env.local_rank);
  return absl::StrCat(
      who, ", node ", env.node, " of ", env.num_nodes, ", store at ", env.master_addr, ":",
      env.master_port == 0 ? std::string("any free port") : absl::StrCat(env.master_port), ", ",
      absl::StartsWith(env.launch, "by hand") ? "" : "by ", env.launch);
}

}  // namespace lockstep::dist
