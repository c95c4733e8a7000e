// Who am I: rank, world size and meeting point, from flags and the environment.
//
// Precedence: our own supervising parent > flags > torchrun > Open MPI > PMI (MPICH, Intel MPI,
// Hydra) > Slurm > by hand. By hand the process is no rank but the parent of this node's ranks
// (supervisor.h); so is a launcher's process whose launcher started one process on this node while
// --nproc_per_node asks for several. A run of one rank is no exception: it has a parent too.
//
// Variables that are read (sources: torch/distributed/run.py; Open MPI 5.0 "environment variables";
// Slurm srun(1) "output environment variables"):
//   torchrun  RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE GROUP_RANK MASTER_ADDR MASTER_PORT
//             TORCHELASTIC_RUN_ID TORCHELASTIC_USE_AGENT_STORE
//   Open MPI  OMPI_COMM_WORLD_{RANK,SIZE,LOCAL_RANK,LOCAL_SIZE} PMIX_NAMESPACE MASTER_ADDR
//             MASTER_PORT
//   PMI       PMI_RANK PMI_SIZE PMI_JOBID MPI_LOCALRANKID MPI_LOCALNRANKS MASTER_ADDR MASTER_PORT
//   Slurm     SLURM_PROCID SLURM_NTASKS SLURM_LOCALID SLURM_NODEID SLURM_NNODES SLURM_JOB_ID
//             SLURM_STEP_ID SLURM_STEP_NODELIST (else SLURM_JOB_NODELIST)
//             SLURM_STEP_TASKS_PER_NODE (else SLURM_TASKS_PER_NODE)
// Slurm counts only inside a step (srun): in a batch script every process would see SLURM_PROCID=0
// of SLURM_NTASKS ranks. MPI names no meeting point, so on several nodes --master_addr or
// MASTER_ADDR must. With more than one node nothing ever falls back to this machine.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace lockstep::dist {

using Environment = std::map<std::string, std::string>;

Environment ReadEnvironment();  // this process's

// What the user gave as flags; unset is "not given".
struct LaunchFlags {
  std::optional<int> nproc_per_node;
  std::optional<int> nnodes;
  std::optional<int> node_rank;
  std::string master_addr;
  std::optional<int> master_port;
  int default_nproc_per_node = 1;  // visible GPUs, 1 without GPUs
};

enum class Role { kParent, kRank };

struct LaunchEnv {
  Role role = Role::kParent;
  std::string source;  // "by hand", "our parent", "torchrun", "Open MPI", "PMI", "Slurm"
  // Who started the run and what said so, for people: "torchrun: RANK WORLD_SIZE MASTER_ADDR", "by
  // hand: --nproc_per_node". A rank of our parent has the parent's.
  std::string launch;

  int rank = 0;              // of the world; for a parent, of its first rank
  int local_rank = 0;        // on this node: the GPU is local_rank % visible GPUs
  int world_size = 1;        // ranks on all nodes
  int local_world_size = 1;  // ranks on this node
  int node = 0;              // its number, from 0
  int num_nodes = 1;

  // Where the store is (store.h). On one node an address of the loopback interface.
  std::string master_addr = "127.0.0.1";
  int master_port = 0;      // 0: any free one (only for a parent on one node)
  int port_candidates = 1;  // rank 0 takes the first free of this many, the others find it
  // What connections to the store show. Drawn by the parent, where there is one; else made of the
  // launcher's job and a secret of the user (user_secret.h), on several nodes only where the user
  // has put one there; LOCKSTEP_RUN_TOKEN beats it.
  std::string token;
  bool has_parent = false;  // a process of ours supervises this rank and serves the store

  bool serves_store() const { return !has_parent && rank == 0; }
};

// A UserError names the variable or flag at fault.
absl::StatusOr<LaunchEnv> ResolveLaunch(const Environment& environment, const LaunchFlags& flags);

// The variables by which a parent tells a rank what `rank` holds (RANK, LOCAL_RANK, WORLD_SIZE and
// our own LOCKSTEP_…); ResolveLaunch in the rank gives it back.
Environment VariablesFor(const LaunchEnv& rank);

// What was resolved, as a line for people: "rank 2 of 4, local rank 0, node 1 of 2, store at
// 10.0.0.1:29500, by torchrun: RANK …".
std::string Describe(const LaunchEnv& env);

}  // namespace lockstep::dist
