#include "dist/world.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/check.h"
#include "base/status.h"
#include "dist/agreement.h"
#include "dist/exit_code.h"
#include "dist/gloo_communicator.h"
#include "dist/rendezvous.h"
#include "dist/shared_gpus.h"
#include "dist/socket.h"
#include "dist/stop_signals.h"
#include "dist/store_keys.h"
#include "dist/watchdog.h"

namespace lockstep::dist {
namespace {

constexpr double kBeatSeconds = 0.2;
constexpr std::chrono::milliseconds kVerdictPatience{2000};
constexpr std::chrono::seconds kLeavePatience{10};

// The end of this process from any of its threads; other threads may be anywhere.
[[noreturn]] void EndLost(absl::string_view report) {
  const std::string text = absl::StrCat(report, "\n");
  (void)!write(STDERR_FILENO, text.data(), text.size());
  _exit(kExitRankLost);
}

class RankWorld final : public World {
 public:
  RankWorld(const LaunchEnv& env, const WorldOptions& options)
      : env_(env),
        options_(options),
        join_timeout_(static_cast<int64_t>(options.join_timeout_seconds * 1000)),
        host_(HostName()),
        watchdog_(env.world_size, options.stall_timeout_seconds) {}

  ~RankWorld() override {
    const bool in_order = leaving_.exchange(true);
    // Where this rank serves the store and the run ends in an error of all ranks, the others may
    // not have read it yet.
    if (server_ != nullptr && !in_order && size() > 1)
      std::this_thread::sleep_for(kVerdictPatience);
  }

  absl::Status Join() {
    signal(SIGPIPE, SIG_IGN);  // Gloo writes to connections that may be cut: an error, not the end
    if (!env_.has_parent) {
      BlockStopSignals();
      KeepStopSignals();
    }
    RETURN_IF_ERROR(Annotate(JoinStore(), "join: store"));
    RETURN_IF_ERROR(Annotate(MeetRanks(), "join: ranks"));
    RETURN_IF_ERROR(Annotate(Connect(), "join: communicator"));
    heartbeat_->Report({"start"});
    return absl::OkStatus();
  }

  int rank() const override { return env_.rank; }
  int size() const override { return env_.world_size; }
  const LaunchEnv& env() const override { return env_; }
  Communicator& communicator() override { return *communicator_; }
  Heartbeat& heartbeat() override { return *heartbeat_; }
  StoreClient& store() override { return *store_; }
  const std::vector<Member>& members() const override { return members_; }

  absl::Status Agree(const std::map<std::string, std::string>& facts) override {
    const absl::Status status =
        dist::Agree(*store_, rank(), size(), absl::StrCat(agreements_++), facts, join_timeout_);
    if (absl::IsUnavailable(status)) LoseStore(status);
    return status;
  }

  int stop_requested() const override {
    const int signal = KeptStopSignal();
    return signal != 0 ? 128 + signal : stop_.load();
  }

  void SetLogDirectory(const std::string& directory) override {
    const absl::Status status = store_->Set(kLogDirectory, directory);
    if (!status.ok()) LOG(WARNING) << status;
  }

  void Leave() override {
    communicator_->Wait(communicator_->Barrier(Stream(), "at the end"), Stream());
    leaving_ = true;
    (void)store_->Set(absl::StrCat(kLeftPrefix, rank()), "1");
    heartbeat_->Report({kLeftPhase});
    heartbeat_->Stop();
    // What this rank has sent may still be on its way, and would be lost with its connections. The
    // store's errors do not matter: it ends when all are through.
    (void)PassGate("through", kLeavePatience);
  }

 private:
  absl::Status JoinStore() {
    if (env_.serves_store()) {
      ASSIGN_OR_RETURN(server_, StartStore(env_));
      env_.master_port = server_->port();
      env_.port_candidates = 1;
    }
    ASSIGN_OR_RETURN(store_, FindStore(env_, join_timeout_));
    ASSIGN_OR_RETURN(beat_store_, FindStore(env_, join_timeout_));
    return absl::OkStatus();
  }

  // Announces this rank and waits until all are there.
  absl::Status MeetRanks() {
    const Member me = {rank(),   env_.node,    env_.local_rank, host_,
                       getpid(), options_.gpu, options_.device};
    const std::string key = absl::StrCat(kMemberPrefix, rank());
    ASSIGN_OR_RETURN(const int64_t claims, store_->Add(absl::StrCat("claims/", rank()), 1));
    if (claims > 1) {
      ASSIGN_OR_RETURN(const std::string text, store_->Wait(key, std::chrono::seconds(5)));
      ASSIGN_OR_RETURN(const Member other, DecodeMember(text));
      return UserError(absl::StrCat("rank ", rank()),
                       absl::StrCat("two processes are rank ", rank(), ": ", Describe(other),
                                    " and ", Describe(me)),
                       "if every node takes itself for node 0, give each its own --node_rank");
    }
    RETURN_IF_ERROR(store_->Set(key, Encode(me)));
    RETURN_IF_ERROR(store_->Set(absl::StrCat(kWorldPrefix, size()), absl::StrCat(rank())));
    heartbeat_ =
        std::make_unique<Heartbeat>([this](const Beat& beat) { Publish(beat); }, kBeatSeconds);
    heartbeat_->Report({kJoinPhase});

    const absl::Status all = PassGate("present", join_timeout_);
    RETURN_IF_ERROR(CheckWorldSizes());
    if (absl::IsDeadlineExceeded(all)) return AbsentRanks();
    RETURN_IF_ERROR(all);
    ASSIGN_OR_RETURN(const auto members, store_->List(kMemberPrefix));
    for (const auto& [name, text] : members) {
      ASSIGN_OR_RETURN(Member member, DecodeMember(text));
      members_.push_back(std::move(member));
    }
    std::sort(members_.begin(), members_.end(),
              [](const Member& a, const Member& b) { return a.rank < b.rank; });
    return CheckGpus(members_, MayShareGpus(ReadEnvironment()));
  }

  absl::Status CheckWorldSizes() {
    ASSIGN_OR_RETURN(const auto sizes, store_->List(kWorldPrefix));
    if (sizes.size() <= 1) return absl::OkStatus();
    std::vector<std::string> claims;
    for (const auto& [key, rank] : sizes) {
      claims.push_back(absl::StrCat("rank ", rank, " says ", absl::StripPrefix(key, kWorldPrefix)));
    }
    return UserError("world size",
                     absl::StrCat("want one on all nodes, got ", absl::StrJoin(claims, ", ")),
                     "give every node the same --nnodes and --nproc_per_node");
  }

  absl::Status AbsentRanks() {
    ASSIGN_OR_RETURN(const auto members, store_->List(kMemberPrefix));
    std::vector<int> absent;
    for (int r = 0; r < size() && absent.size() < 12; ++r) {
      if (members.count(absl::StrCat(kMemberPrefix, r)) == 0) absent.push_back(r);
    }
    return UserError(absl::StrCat("rank ", rank()),
                     absl::StrCat("want ", size(), " ranks, got ", members.size(), " within ",
                                  options_.join_timeout_seconds, " s; missing: rank ",
                                  absl::StrJoin(absent, ", rank ")),
                     "look at what the missing ranks' machines say");
  }

  absl::Status Connect() {
    const auto on_failure = [this](const absl::Status& error, const std::string& what) {
      LosePeer(error, what);
    };
    if (size() == 1) {
      communicator_ = MakeSoloCommunicator();
    } else if (options_.make_communicator) {
      ASSIGN_OR_RETURN(communicator_,
                       options_.make_communicator(rank(), size(), *store_, on_failure));
    } else {
      GlooOptions options;
      options.timeout = std::min(options.timeout, join_timeout_);
      options.on_failure = on_failure;
      ASSIGN_OR_RETURN(communicator_,
                       MakeGlooCommunicator(rank(), size(), *store_, std::move(options)));
    }
    position_of_ = communicator_.get();
    return absl::OkStatus();
  }

  // In the heartbeat's thread, which alone uses beat_store_.
  void Publish(Beat beat) {
    beat.rank = rank();
    beat.host = host_;
    beat.pid = getpid();
    beat.device = options_.device;
    if (const Communicator* communicator = position_of_) beat.position = communicator->position();
    absl::Status status = beat_store_->Set(absl::StrCat(kBeatPrefix, rank()), EncodeBeat(beat));
    if (status.ok()) status = ReadRunState();
    if (status.ok() && server_ != nullptr) status = WatchTheOthers();
    if (!status.ok() && !leaving_) LoseStore(status);
  }

  [[noreturn]] void LoseStore(const absl::Status& status) const {
    EndLost(absl::StrCat("[rank ", rank(), "] lost the store at ", env_.master_addr, ":",
                         env_.master_port, " (", env_.has_parent ? "the parent" : "rank 0",
                         "): ", status.message()));
  }

  absl::Status ReadRunState() {
    ASSIGN_OR_RETURN(const auto run, beat_store_->List(kRunPrefix));
    if (const auto stop = run.find(kStop); stop != run.end()) {
      int code = 0;
      CHECK(absl::SimpleAtoi(stop->second, &code)) << stop->second;
      stop_ = code;
    }
    if (const auto verdict = run.find(kVerdict); verdict != run.end() && !leaving_) {
      if (env_.has_parent) std::this_thread::sleep_for(kVerdictPatience);  // it ends us
      EndLost(absl::StrCat("[rank ", rank(), "] ends: ", verdict->second));
    }
    return absl::OkStatus();
  }

  // Rank 0 where there is no parent.
  absl::Status WatchTheOthers() {
    ASSIGN_OR_RETURN(const auto beats, ReadBeats(*beat_store_));
    const double now =
        std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    const std::optional<std::string> report = watchdog_.Check(beats, now);
    if (!report || leaving_) return absl::OkStatus();
    RETURN_IF_ERROR(beat_store_->Set(kVerdict, *report));
    std::this_thread::sleep_for(std::chrono::seconds(1));  // for the others to read it
    EndLost(*report);
  }

  // In the communicator's thread. Whoever knows more than this rank has 2 s to say so.
  void LosePeer(const absl::Status& error, const std::string& what) {
    if (leaving_) return;
    // The last beat of who is gone may still be on its way.
    std::this_thread::sleep_for(kVerdictPatience / 2);
    const auto before = ReadBeats(*store_);
    std::this_thread::sleep_for(kVerdictPatience / 2);
    if (leaving_) return;  // this rank has an error of its own to tell
    const auto after = ReadBeats(*store_);
    std::vector<std::string> silent;
    if (before.ok() && after.ok()) {
      for (const auto& [r, beat] : *after) {
        const auto earlier = before->find(r);
        if (earlier == before->end() || earlier->second.number != beat.number) continue;
        silent.push_back(absl::StrCat("rank ", r, " (host ", beat.host, ", pid ", beat.pid, ") at ",
                                      Describe(beat)));
      }
    }
    const std::string report = absl::StrCat(
        "[rank ", rank(), "] lost a peer in ", what, ": ",
        silent.empty() ? std::string("no heartbeat is missing")
                       : absl::StrCat("no heartbeat from ", absl::StrJoin(silent, ", ")),
        "; ", error.message());
    if (!env_.has_parent) (void)store_->Set(kVerdict, report);
    if (server_ != nullptr) std::this_thread::sleep_for(std::chrono::seconds(1));  // to be read
    EndLost(report);
  }

  // Done when every rank has reached it.
  absl::Status PassGate(const std::string& name, std::chrono::milliseconds timeout) {
    const std::string open = absl::StrCat(name, "/all");
    ASSIGN_OR_RETURN(const int64_t arrived, store_->Add(name, 1));
    if (arrived == size()) RETURN_IF_ERROR(store_->Set(open, "1"));
    return store_->Wait(open, timeout).status();
  }

  LaunchEnv env_;
  const WorldOptions options_;
  const std::chrono::milliseconds join_timeout_;
  const std::string host_;
  std::unique_ptr<StoreServer> server_;
  std::unique_ptr<StoreClient> store_;
  std::unique_ptr<StoreClient> beat_store_;
  std::unique_ptr<Communicator> communicator_;
  std::atomic<const Communicator*> position_of_{nullptr};
  Watchdog watchdog_;
  std::vector<Member> members_;
  int agreements_ = 0;
  std::atomic<int> stop_{0};
  std::atomic<bool> leaving_{false};
  std::unique_ptr<Heartbeat> heartbeat_;  // its thread uses all of the above, so it ends first
};

}  // namespace

absl::StatusOr<std::unique_ptr<World>> JoinWorld(const LaunchEnv& env,
                                                 const WorldOptions& options) {
  CHECK(env.role == Role::kRank) << "[world] a parent supervises, it does not join";
  auto world = std::make_unique<RankWorld>(env, options);
  RETURN_IF_ERROR(Annotate(world->Join(), Describe(env)));
  return world;
}

}  // namespace lockstep::dist
