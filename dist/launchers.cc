#include "dist/launchers.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/hash.h"
#include "base/status.h"
#include "dist/node_list.h"

namespace lockstep::dist {

bool Has(const Environment& environment, const std::string& name) {
  const auto found = environment.find(name);
  return found != environment.end() && !found->second.empty();
}

std::string Text(const Environment& environment, const std::string& name) {
  const auto found = environment.find(name);
  return found == environment.end() ? "" : found->second;
}

absl::Status Number(const Environment& environment, const std::string& name, int least,
                    bool required, int* value) {
  if (!Has(environment, name)) {
    return required ? UserError(name, "want a number, got nothing",
                                "the launcher's other variables are set but not this one")
                    : absl::OkStatus();
  }
  const std::string text = Text(environment, name);
  int number = 0;
  if (!absl::SimpleAtoi(text, &number) || number < least) {
    return UserError(name,
                     absl::StrCat("want a number of at least ", least, ", got \"", text, "\""),
                     "the launcher sets this variable; unset it to launch by hand");
  }
  *value = number;
  return absl::OkStatus();
}

bool IsLoopback(absl::string_view address) {
  return address == "localhost" || address == "::1" || absl::StartsWith(address, "127.");
}

std::string Present(const Environment& environment, std::initializer_list<const char*> names) {
  std::vector<std::string> present;
  for (const char* name : names) {
    if (Has(environment, name)) present.push_back(name);
  }
  return absl::StrJoin(present, " ");
}

namespace {

absl::StatusOr<Launcher> FromTorchrun(const Environment& env) {
  Launcher l;
  l.name = "torchrun";
  l.said_by = Present(
      env, {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR",
            "MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_USE_AGENT_STORE"});
  l.master_addr = Text(env, "MASTER_ADDR");
  l.job = Text(env, "TORCHELASTIC_RUN_ID");
  l.stale = !Has(env, "TORCHELASTIC_RUN_ID");
  RETURN_IF_ERROR(Number(env, "RANK", 0, kRequired, &l.rank));
  RETURN_IF_ERROR(Number(env, "WORLD_SIZE", 1, kRequired, &l.size));
  RETURN_IF_ERROR(Number(env, "LOCAL_RANK", 0, kRequired, &l.local_rank));
  const bool one_node = l.size == 1 || IsLoopback(l.master_addr);
  if (one_node) l.local_size = l.size;
  RETURN_IF_ERROR(Number(env, "LOCAL_WORLD_SIZE", 1, !one_node, &l.local_size));
  l.num_nodes = (l.size + l.local_size - 1) / l.local_size;
  l.node = l.rank / l.local_size;
  RETURN_IF_ERROR(Number(env, "GROUP_RANK", 0, kOptional, &l.node));
  RETURN_IF_ERROR(Number(env, "MASTER_PORT", 1, kOptional, &l.port));
  // The agent's own store listens on MASTER_PORT itself.
  if (Text(env, "TORCHELASTIC_USE_AGENT_STORE") == "True") ++l.port;
  return l;
}

int PortOfJob(absl::string_view job) { return 15000 + static_cast<int>(Hash64(job) % 20000); }

// The names under which an MPI launcher says the same things.
struct MpiVariables {
  const char *rank, *size, *local_rank, *local_size, *job;
};
constexpr MpiVariables kOpenMpi = {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
                                   "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE",
                                   "PMIX_NAMESPACE"};
constexpr MpiVariables kPmi = {"PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS",
                               "PMI_JOBID"};

absl::StatusOr<Launcher> FromMpi(const Environment& env, const char* name,
                                 const MpiVariables& variables) {
  Launcher l;
  l.name = name;
  l.said_by = Present(env, {variables.rank, variables.size, variables.local_rank,
                            variables.local_size, "MASTER_ADDR", "MASTER_PORT", variables.job});
  RETURN_IF_ERROR(Number(env, variables.rank, 0, kRequired, &l.rank));
  RETURN_IF_ERROR(Number(env, variables.size, 1, kRequired, &l.size));
  RETURN_IF_ERROR(Number(env, variables.local_rank, 0, l.size > 1, &l.local_rank));
  RETURN_IF_ERROR(Number(env, variables.local_size, 1, l.size > 1, &l.local_size));
  l.num_nodes = (l.size + l.local_size - 1) / l.local_size;
  l.node = l.rank / l.local_size;
  l.master_addr = Text(env, "MASTER_ADDR");
  l.job = Text(env, variables.job);
  l.port = PortOfJob(l.job);
  RETURN_IF_ERROR(Number(env, "MASTER_PORT", 1, kOptional, &l.port));
  return l;
}

absl::StatusOr<Launcher> FromSlurm(const Environment& env) {
  Launcher l;
  l.name = "Slurm";
  l.said_by = Present(
      env, {"SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NNODES",
            "SLURM_STEP_TASKS_PER_NODE", "SLURM_STEP_NODELIST", "SLURM_JOB_ID", "SLURM_STEP_ID"});
  RETURN_IF_ERROR(Number(env, "SLURM_PROCID", 0, kRequired, &l.rank));
  RETURN_IF_ERROR(Number(env, "SLURM_NTASKS", 1, kRequired, &l.size));
  RETURN_IF_ERROR(Number(env, "SLURM_LOCALID", 0, kRequired, &l.local_rank));
  RETURN_IF_ERROR(Number(env, "SLURM_NODEID", 0, kOptional, &l.node));
  RETURN_IF_ERROR(Number(env, "SLURM_NNODES", 1, kOptional, &l.num_nodes));

  const std::string per_node =
      Has(env, "SLURM_STEP_TASKS_PER_NODE") ? "SLURM_STEP_TASKS_PER_NODE" : "SLURM_TASKS_PER_NODE";
  if (Has(env, per_node)) {
    absl::StatusOr<std::vector<int>> tasks = ExpandTasksPerNode(Text(env, per_node));
    if (!tasks.ok()) return Annotate(tasks.status(), per_node);
    l.num_nodes = static_cast<int>(tasks->size());
    if (l.node >= l.num_nodes) {
      return UserError("SLURM_NODEID", absl::StrCat("want below ", l.num_nodes, " (", per_node, "=",
                                                    Text(env, per_node), "), got ", l.node));
    }
    l.local_size = (*tasks)[l.node];
  } else {
    l.local_size = (l.size + l.num_nodes - 1) / l.num_nodes;
  }

  const std::string list =
      Has(env, "SLURM_STEP_NODELIST") ? "SLURM_STEP_NODELIST" : "SLURM_JOB_NODELIST";
  if (l.num_nodes > 1) {
    absl::StatusOr<std::vector<std::string>> nodes = ExpandNodeList(Text(env, list));
    if (!nodes.ok()) return Annotate(nodes.status(), list);
    l.master_addr = nodes->front();
  }
  int job = 0;
  RETURN_IF_ERROR(Number(env, "SLURM_JOB_ID", 0, kRequired, &job));
  l.job = absl::StrCat(job, ".", Text(env, "SLURM_STEP_ID"));
  l.port = 15000 + job % 20000;
  return l;
}

}  // namespace

absl::StatusOr<std::optional<Launcher>> FindLauncher(const Environment& env) {
  absl::StatusOr<Launcher> found;
  if (Has(env, "RANK") && Has(env, "WORLD_SIZE")) {
    found = FromTorchrun(env);
  } else if (Has(env, kOpenMpi.rank)) {
    found = FromMpi(env, "Open MPI", kOpenMpi);
  } else if (Has(env, kPmi.rank)) {
    found = FromMpi(env, "PMI", kPmi);
  } else if (Has(env, "SLURM_PROCID") &&
             (Has(env, "SLURM_STEP_ID") || Has(env, "SLURM_STEP_NODELIST"))) {
    found = FromSlurm(env);
  } else {
    return std::optional<Launcher>();
  }
  if (!found.ok()) return Annotate(found.status(), "launch");
  const Launcher& l = *found;
  if (l.rank >= l.size || l.local_rank >= l.local_size || l.local_size > l.size) {
    return UserError(
        absl::StrCat("launch by ", l.name),
        absl::StrFormat("want rank < world size and local rank < ranks of the node, "
                        "got rank %d of %d, local rank %d of %d",
                        l.rank, l.size, l.local_rank, l.local_size),
        "the launcher's variables contradict one another; unset them to launch by hand");
  }
  return std::optional<Launcher>(l);
}

}  // namespace lockstep::dist
