#include "dist/supervisor.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/terminal.h"
#include "dist/heartbeat.h"
#include "dist/rank_process.h"
#include "dist/rendezvous.h"
#include "dist/signal_pipe.h"
#include "dist/store.h"
#include "dist/store_keys.h"
#include "dist/verdict.h"
#include "dist/watchdog.h"

namespace lockstep::dist {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::minutes kFindStoreTimeout{5};
constexpr double kTurnSeconds = 0.1;
// How long the others may take to fail by themselves once a rank has failed: then it was an error
// of all of them.
constexpr double kGraceSeconds = 1.0;
constexpr size_t kKeptLines = 12;  // the last ones of a failed rank, for Judge

// On a terminal in place of what stands there without an end: rank 0's progress, a ^C.
void Say(absl::string_view text) {
  const char* const clear = RewritesLines(STDERR_FILENO) ? "\r\033[K" : "";
  const std::string line = absl::StrCat(clear, text, "\n");
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
}

// One start of this node's ranks, until all of them have ended.
class Watch {
 public:
  Watch(const LaunchEnv& env, const SuperviseOptions& options, StoreClient& store,
        SignalPipe& signals)
      : env_(env),
        store_(store),
        signals_(signals),
        watchdog_(env.world_size, options.stall_timeout_seconds) {}

  absl::StatusOr<Verdict> Run(const std::vector<std::string>& argv,
                              const Environment& environment) {
    RETURN_IF_ERROR(StartRanks(argv, environment));
    while (!AllEnded()) {
      WaitForEvents();
      HandleSignals();
      ReadStore();
      LookForFailures();
      if (verdict_) KillAll();
    }
    for (const auto& rank : ranks_) rank->ReadOutput();
    // A run may be over before its store is read once more.
    if (const auto logs = store_.Get(kLogDirectory); logs.ok() && *logs) WriteLogs(**logs);
    if (!verdict_) JudgeEndings();
    return *verdict_;
  }

  // On this node or another.
  bool asked_to_stop() const { return stop_code_ != 0 || stop_elsewhere_; }

 private:
  absl::Status StartRanks(const std::vector<std::string>& argv, const Environment& environment) {
    for (int i = 0; i < env_.local_world_size; ++i) {
      LaunchEnv rank = env_;
      rank.rank = env_.rank + i;
      rank.local_rank = i;
      rank.master_port = store_.port();
      ASSIGN_OR_RETURN(ranks_.emplace_back(), RankProcess::Start(rank, environment, argv,
                                                                 /*own_terminal=*/rank.rank == 0));
    }
    return absl::OkStatus();
  }

  bool AllEnded() const {
    return std::all_of(ranks_.begin(), ranks_.end(),
                       [](const auto& rank) { return rank->ending().has_value(); });
  }

  void KillAll() {
    for (const auto& rank : ranks_) rank->Kill();
  }

  void WaitForEvents() {
    std::vector<pollfd> entries = {{signals_.fd(), POLLIN, 0}};
    for (const auto& rank : ranks_) {
      if (rank->output() >= 0) entries.push_back({rank->output(), POLLIN, 0});
    }
    const int ready = poll(entries.data(), entries.size(), static_cast<int>(1000 * kTurnSeconds));
    PCHECK(ready >= 0 || errno == EINTR) << "poll";
    for (const auto& rank : ranks_) rank->ReadOutput();

    // The clock of the watch does not run while this process is stopped or starved.
    const Clock::time_point now = Clock::now();
    now_ += std::min(1.0, std::chrono::duration<double>(now - last_turn_).count());
    last_turn_ = now;
  }

  void HandleSignals() {
    while (const std::optional<int> signal = signals_.Next()) {
      if (*signal == SIGCHLD) continue;
      if (*signal == SIGHUP && stop_code_ != 0) continue;  // from the shell as well as the terminal
      const bool again = stop_code_ != 0;
      stop_code_ = 128 + *signal;
      if (again || !AnyJoined()) {
        verdict_ = Verdict{stop_code_, "[parent] the ranks were killed"};
        return;
      }
      Say("[parent] asks the ranks to stop and save; once more kills them");
      StoreWorks(store_.Set(kStop, absl::StrCat(stop_code_)));
    }
  }

  bool AnyJoined() {
    return std::any_of(ranks_.begin(), ranks_.end(),
                       [this](const auto& rank) { return InStore(kMemberPrefix, *rank); });
  }

  bool InStore(absl::string_view prefix, const RankProcess& rank) {
    const auto entry = store_.Get(absl::StrCat(prefix, rank.rank()));
    return entry.ok() && entry->has_value();
  }

  // False ends the watch: without the store nobody knows anything any more.
  bool StoreWorks(const absl::Status& status) {
    if (!status.ok() && !verdict_) {
      verdict_ = Verdict{kExitRankLost, absl::StrCat("[parent] lost the store of node 0 at ",
                                                     env_.master_addr, ": ", status.message())};
    }
    return status.ok();
  }

  void ReadStore() {
    if (verdict_ || now_ - last_store_ < 2.5 * kTurnSeconds) return;
    last_store_ = now_;
    const auto run = store_.List(kRunPrefix);
    const auto beats = ReadBeats(store_);
    if (!StoreWorks(run.status()) || !StoreWorks(beats.status())) return;
    beats_ = *beats;
    stop_elsewhere_ = run->count(kStop) != 0;
    if (const auto logs = run->find(kLogDirectory); logs != run->end()) WriteLogs(logs->second);
    if (const auto verdict = run->find(kVerdict); verdict != run->end()) {
      int code = kExitRankLost;  // a rank's, who knows of nothing else
      const auto named = run->find(kVerdictCode);
      if (named != run->end()) CHECK(absl::SimpleAtoi(named->second, &code)) << named->second;
      verdict_ =
          Verdict{code, absl::StrCat("[node ", env_.node, "] ends, as node 0 or another says: ",
                                     verdict->second.empty() ? "what a rank of it has printed"
                                                             : verdict->second)};
    } else if (env_.node == 0) {
      if (const auto stall = watchdog_.Check(beats_, now_)) Decide({kExitRankLost, *stall});
    }
  }

  // Rank 0 writes its own.
  void WriteLogs(const std::string& directory) {
    if (std::exchange(logging_, true)) return;
    for (const auto& rank : ranks_) {
      if (rank->rank() == 0) continue;
      rank->LogTo(JoinPath(directory, absl::StrCat("rank-", rank->rank(), ".log")));
    }
  }

  // The verdict of this node, told to the others.
  void Decide(Verdict verdict) {
    verdict_ = std::move(verdict);
    const auto first = store_.Add("verdicts", 1);
    if (!first.ok() || *first != 1) return;
    (void)store_.Set(kVerdictCode, absl::StrCat(verdict_->exit_code));
    (void)store_.Set(kVerdict, verdict_->report);
  }

  // A rank that ended although the run goes on. One that never joined had nothing to do.
  bool EndedEarly(const RankProcess& rank) {
    return !rank.ending()->orderly() ||
           (InStore(kMemberPrefix, rank) && !InStore(kLeftPrefix, rank));
  }

  void LookForFailures() {
    for (const auto& rank : ranks_) {
      if (rank->ending() || !rank->Poll()) continue;
      if (verdict_ || !EndedEarly(*rank)) continue;
      failed_.push_back(rank.get());
      if (failed_.size() == 1) failed_at_ = now_;
    }
    if (verdict_ || failed_.empty()) return;
    const bool could_be_all =
        std::all_of(failed_.begin(), failed_.end(),
                    [](const RankProcess* rank) { return MayBeOfAllRanks(*rank->ending()); });
    if (AllEnded() || !could_be_all || now_ - failed_at_ > kGraceSeconds) JudgeEndings();
  }

  void JudgeEndings() {
    if (failed_.empty()) {
      verdict_ = Orderly();
      return;
    }
    if (const auto beats = ReadBeats(store_); beats.ok()) beats_ = *beats;
    std::vector<FailedRank> failed;
    for (const RankProcess* rank : failed_) {
      failed.push_back({rank->rank(), rank->pid(), *rank->ending(), rank->LastLines(kKeptLines)});
    }
    Decide(Judge(failed, beats_, env_.world_size));
  }

  Verdict Orderly() const {
    for (const auto& rank : ranks_) {
      if (rank->ending()->code != 0) return {rank->ending()->code, ""};
    }
    return {kExitDone, ""};
  }

  const LaunchEnv env_;
  StoreClient& store_;
  SignalPipe& signals_;
  Watchdog watchdog_;
  std::vector<std::unique_ptr<RankProcess>> ranks_;
  std::map<int, Beat> beats_;         // of all nodes
  std::vector<RankProcess*> failed_;  // in the order in which they ended
  double failed_at_ = 0;
  std::optional<Verdict> verdict_;
  int stop_code_ = 0;
  bool stop_elsewhere_ = false;
  bool logging_ = false;
  Clock::time_point last_turn_ = Clock::now();
  double now_ = 0;
  double last_store_ = 0;
};

// Node 0 serves the store, so it ends last. After a loss another node may be gone.
void WaitForTheOtherParents(const LaunchEnv& env, const Verdict& verdict, StoreClient& store) {
  if (env.num_nodes == 1) return;
  auto ended = store.Add(kParentsEnded, 1);
  const auto deadline =
      Clock::now() + std::chrono::seconds(verdict.exit_code == kExitDone ? 30 : 5);
  while (env.node == 0 && ended.ok() && *ended < env.num_nodes && Clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    ended = store.Add(kParentsEnded, 0);
  }
}

// Where nodes share a token, each attempt has one made from it: a node that starts again while node
// 0 still serves the attempt before is not let in there.
LaunchEnv ForAttempt(LaunchEnv env, int attempt) {
  if (attempt > 0 && !env.token.empty()) env.token = HashHex(absl::StrCat(env.token, "/", attempt));
  return env;
}

// Node 0 may be started later, by hand: who waits for it says so, and can be stopped.
absl::StatusOr<std::unique_ptr<StoreClient>> WaitForStore(const LaunchEnv& env, SignalPipe& signals,
                                                          int* stop_code) {
  constexpr std::chrono::seconds kSilence{3};
  const Clock::time_point start = Clock::now();
  bool silent = true;
  return FindStore(env, kFindStoreTimeout, [&] {
    if (silent && Clock::now() - start > kSilence) {
      Say(absl::StrCat("[parent] waits for node 0 at ", env.master_addr, ":", env.master_port));
      silent = false;
    }
    while (const std::optional<int> signal = signals.Next()) {
      if (*signal != SIGCHLD) *stop_code = 128 + *signal;
    }
    return *stop_code != 0;
  });
}

// One attempt of the run on this node.
absl::StatusOr<Verdict> Attempt(LaunchEnv env, const SuperviseOptions& options,
                                const std::vector<std::string>& argv,
                                const Environment& environment, SignalPipe& signals,
                                bool* asked_to_stop) {
  std::unique_ptr<StoreServer> server;
  if (env.token.empty()) env.token = RandomToken();
  if (env.node == 0) {
    ASSIGN_OR_RETURN(server, StartStore(env));
    env.master_port = server->port();
    env.port_candidates = 1;
  }
  int stop_code = 0;
  const auto store = WaitForStore(env, signals, &stop_code);
  if (stop_code != 0) return Verdict{stop_code, ""};
  RETURN_IF_ERROR(store.status());
  Watch watch(env, options, **store, signals);
  ASSIGN_OR_RETURN(Verdict verdict, watch.Run(argv, environment));
  *asked_to_stop = watch.asked_to_stop();
  WaitForTheOtherParents(env, verdict, **store);
  return verdict;
}

}  // namespace

int Supervise(const LaunchEnv& env, const SuperviseOptions& options,
              const std::vector<std::string>& argv) {
  CHECK(env.role == Role::kParent) << "[supervisor] a rank has no ranks";
  SignalPipe signals({SIGHUP, SIGINT, SIGTERM, SIGCHLD});
  Environment environment = ReadEnvironment();
  for (int attempt = 0;; ++attempt) {
    environment["LOCKSTEP_RESTART_COUNT"] = absl::StrCat(attempt);
    bool asked_to_stop = false;
    const absl::StatusOr<Verdict> verdict =
        Attempt(ForAttempt(env, attempt), options, argv, environment, signals, &asked_to_stop);
    if (!verdict.ok()) {
      Say(absl::StrCat("error: ", verdict.status().message()));
      return attempt == 0 ? kExitUserError : kExitRankLost;  // another node did not come back
    }
    if (!verdict->report.empty()) Say(verdict->report);
    const bool again =
        verdict->exit_code == kExitRankLost && attempt < options.max_restarts && !asked_to_stop;
    if (!again) return verdict->exit_code;
    Say(absl::StrCat("[parent] starts the ranks again (", attempt + 1, " of ", options.max_restarts,
                     ")"));
  }
}

}  // namespace lockstep::dist
