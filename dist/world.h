// The run as one rank sees it: its number, its communicator, its heartbeat, the store.
//
//   ASSIGN_OR_RETURN(const LaunchEnv env, dist::ResolveLaunch(dist::ReadEnvironment(), flags));
//   if (env.role == dist::Role::kParent) return dist::Supervise(env, supervise_options, argv);
//   ASSIGN_OR_RETURN(auto world, dist::JoinWorld(env, world_options));
//   RETURN_IF_ERROR(world->Agree({{"binary", …}, {"options", …}, {"data", …}, {"plan", …}}));
//   … train with world->communicator(), world->heartbeat() …
//   world->Leave();
//
// JoinWorld is a sequence of named phases with a time limit each: "store" (find it and show the
// token), "ranks" (all ranks are there, none twice, with a GPU each if with any: shared_gpus.h),
// "communicator" (connections between ranks).
//
// When this rank loses a peer it waits 2 s for the parent's verdict, then says what it lost and the
// process exits with kExitRankLost; so it does when a verdict about another rank arrives, or when
// the store is lost. Without a parent, rank 0 serves the store and watches for stalls itself.
//
// SIGPIPE is ignored from JoinWorld on: whoever writes to a cut connection gets an error.
//
// With a parent, SIGHUP, SIGINT and SIGTERM are ignored here and arrive as stop_requested(); under
// another launcher this process's own SIGINT and SIGTERM set it (stop_signals.h: BlockStopSignals
// where threads are started before JoinWorld).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "dist/communicator.h"
#include "dist/exit_code.h"  // IWYU pragma: export
#include "dist/heartbeat.h"
#include "dist/launch_env.h"
#include "dist/member.h"
#include "dist/store.h"

namespace lockstep::dist {

class World {
 public:
  virtual ~World() = default;  // communicates nothing

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual const LaunchEnv& env() const = 0;

  virtual Communicator& communicator() = 0;
  virtual Heartbeat& heartbeat() = 0;
  virtual StoreClient& store() = 0;
  virtual const std::vector<Member>& members() const = 0;  // by rank

  // Compares facts (name -> hash or text) that must be the same on all ranks; all ranks call it. A
  // difference is a UserError, the same on all ranks, that names the fact and the ranks.
  virtual absl::Status Agree(const std::map<std::string, std::string>& facts) = 0;

  // 0, or what the process shall exit with after it has stopped and saved: kExitHangup,
  // kExitInterrupt or kExitTerminate. Ranks see it at different times: stop by a sum over the
  // ranks (in a step, of the stop slots), and exit with the maximum over the ranks of this value.
  virtual int stop_requested() const = 0;

  // Rank 0: from now on the parent writes what the other ranks say to `directory`/rank-N.log, which
  // exists.
  virtual void SetLogDirectory(const std::string& directory) = 0;

  // The orderly end of a run, on all ranks: waits for all of them. A rank whose process ends before
  // counts as lost.
  virtual void Leave() = 0;
};

// Connects the ranks of a world of several; all ranks call it, none is missing. World's failure
// handler goes into the communicator.
using CommunicatorFactory = std::function<absl::StatusOr<std::unique_ptr<Communicator>>(
    int rank, int size, StoreClient& store, Communicator::FailureHandler on_failure)>;

struct WorldOptions {
  double stall_timeout_seconds = kStallTimeoutSeconds;
  double join_timeout_seconds = 300;      // for each phase of joining
  std::string device = "cpu";             // for reports, e.g. "cuda:3 NVIDIA H100"
  std::string gpu;                        // Runtime::gpu_id()
  CommunicatorFactory make_communicator;  // none: Gloo, for ranks on CPUs
};

absl::StatusOr<std::unique_ptr<World>> JoinWorld(const LaunchEnv& env, const WorldOptions& options);

}  // namespace lockstep::dist
