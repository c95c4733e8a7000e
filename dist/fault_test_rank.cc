#include "dist/fault_test_rank.h"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/progress.h"
#include "base/status.h"
#include "dist/gradient_reducer.h"
#include "dist/supervisor.h"
#include "dist/world.h"

namespace lockstep::dist {
namespace {

constexpr int kParameters = 20;
constexpr int kDocuments = 12;  // in a step, dealt to the ranks

int Number(const Arguments& arguments, const std::string& key, int otherwise) {
  const auto found = arguments.find(key);
  int number = otherwise;
  if (found != arguments.end()) CHECK(absl::SimpleAtoi(found->second, &number)) << key;
  return number;
}

std::string Text(const Arguments& arguments, const std::string& key) {
  const auto found = arguments.find(key);
  return found == arguments.end() ? "" : found->second;
}

void Write(const Arguments& arguments, const std::string& name, const std::string& content) {
  const absl::Status status = WriteFileAtomically(JoinPath(Text(arguments, "out"), name), content);
  CHECK(status.ok()) << status;
}

// Until there is none.
void UseUpMemory() {
  const rlimit limit = {1 << 20, RLIM_INFINITY};
  setrlimit(RLIMIT_AS, &limit);
  std::vector<std::unique_ptr<char[]>> blocks;
  while (true) blocks.push_back(std::make_unique<char[]>(1 << 20));
}

class ToyRank {
 public:
  ToyRank(World& world, const Arguments& arguments)
      : world_(world), arguments_(arguments), plan_(Plan()), gradients_(plan_.numel) {}

  // Returns the exit code; the sums of all steps end in `result`.
  int Train(std::string* result) {
    const View view = MakeView(gradients_.data(), DType::kI64, Device(), {plan_.numel});
    GradientReducer reducer(plan_, world_.communicator(), view, Stream());
    uint64_t sums = 0;
    int code = kExitDone;
    int step = 0;
    while (code == kExitDone && ++step <= Number(arguments_, "steps", 20)) {
      world_.heartbeat().Report({"backward", step});
      if (step == 3) Write(arguments_, absl::StrCat("ready-", world_.rank()), "");
      const int fault_code = Fault(step);
      if (fault_code >= 0) return fault_code;
      ComputeGradients(step);
      for (int i = kParameters; i >= 0; --i)
        reducer.MarkReady(i);  // the slots come last in the plan
      reducer.Finish();
      for (const int64_t sum : gradients_) sums = MixKeys(sums, static_cast<uint64_t>(sum));
      if (gradients_[plan_.slots_offset + kStopSlot] != 0) {
        code = static_cast<int>(AllReduceValue(
            world_.communicator(), int64_t{world_.stop_requested()}, ReduceOp::kMax, "stop"));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    *result = absl::StrCat(code == kExitDone ? "done " : "stopped ", code == 0 ? sums : step);
    return code;
  }

 private:
  BucketPlan Plan() const {
    std::vector<ParameterRange> parameters;
    for (int i = 0; i < kParameters; ++i) {
      parameters.push_back({absl::StrCat("p", i), 100 * i, 90 + i % 10});
    }
    return PlanBuckets(parameters, {Number(arguments_, "cap", 4000), 8, kNumStepSlots});
  }

  void ComputeGradients(int step) {
    gradients_.assign(gradients_.size(), 0);
    for (int d = world_.rank(); d < kDocuments; d += world_.size()) {
      for (int64_t i = 0; i < plan_.slots_offset; ++i) {
        gradients_[i] += static_cast<int64_t>(MixKeys(step * kDocuments + d, i) >> 8);
      }
      gradients_[plan_.slots_offset + kLossSlot] += d;
    }
    gradients_[plan_.slots_offset + kStopSlot] =
        Text(arguments_, "fault") == "stubborn" ? 0 : world_.stop_requested() != 0;
  }

  // -1: go on.
  int Fault(int step) {
    const std::string fault = Text(arguments_, "fault");
    const int rank = Number(arguments_, "rank", -1);
    if (step != Number(arguments_, "step", 5) || (rank >= 0 && rank != world_.rank())) return -1;
    if (fault != "none" && fault != "stubborn") {
      std::this_thread::sleep_for(std::chrono::milliseconds(600));  // for a beat or two
    }
    if (fault == "kill") raise(SIGKILL);
    const char* attempt = std::getenv("LOCKSTEP_RESTART_COUNT");
    if (fault == "kill_once" && attempt != nullptr && std::string(attempt) == "0") raise(SIGKILL);
    if (fault == "stop") raise(SIGSTOP);
    if (fault == "out_of_memory") UseUpMemory();
    for (int unit = 0; fault == "busy" && unit < 45; ++unit) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      MarkProgress();
    }
    if (fault == "hang") std::this_thread::sleep_for(std::chrono::hours(1));
    if (fault == "fatal") _exit(kExitFatal);
    if (fault == "crash") raise(SIGABRT);
    if (fault == "leave_early") return kExitDone;
    if (fault == "survivor_first") {  // notices what rank 1 dies of before the parent does
      if (world_.rank() == 0) _exit(kExitRankLost);
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      raise(SIGKILL);
    }
    if (fault == "user_error") {  // rank 0 comes last
      if (world_.rank() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(200));
      std::fprintf(stderr, "[planted] want a good input, got a bad one\nHINT: none\n");
      return kExitUserError;
    }
    return -1;
  }

  World& world_;
  const Arguments& arguments_;
  const BucketPlan plan_;
  std::vector<int64_t> gradients_;
};

absl::StatusOr<int> RunRank(const LaunchEnv& env, const Arguments& arguments) {
  Write(arguments, absl::StrCat("pid-", env.rank), absl::StrCat(getpid()));
  if (Text(arguments, "fault") == "before_join" && env.rank == Number(arguments, "rank", 0)) {
    return UserError("planted", "wrong before joining");
  }
  if (Text(arguments, "fault") == "never_joins") std::this_thread::sleep_for(std::chrono::hours(1));
  WorldOptions options;
  options.stall_timeout_seconds = Number(arguments, "stall", 60);
  options.join_timeout_seconds = Number(arguments, "join", 60);
  ASSIGN_OR_RETURN(const auto world, JoinWorld(env, options));
  const bool differs =
      Text(arguments, "fault") == "differ" && env.rank == Number(arguments, "rank", 0);
  RETURN_IF_ERROR(world->Agree({{"binary", "same"}, {"data", differs ? "other" : "same"}}));
  if (env.rank == 0) {
    Write(arguments, "store_port", absl::StrCat(world->store().port()));
    world->SetLogDirectory(Text(arguments, "out"));
  }
  std::printf("rank %d of %d trains\n", env.rank, env.world_size);
  std::fflush(stdout);
  std::string result;
  const int code = ToyRank(*world, arguments).Train(&result);
  if (result.empty()) return code;  // a planted fault
  if (env.rank == 0) Write(arguments, "result", result);
  world->Leave();
  return code;
}

}  // namespace

int RunProgram(const Arguments& arguments, int argc, char** argv) {
  LaunchFlags flags;
  if (arguments.count("nproc") != 0) flags.nproc_per_node = Number(arguments, "nproc", 1);
  if (arguments.count("nnodes") != 0) flags.nnodes = Number(arguments, "nnodes", 1);
  if (arguments.count("node_rank") != 0) flags.node_rank = Number(arguments, "node_rank", 0);
  flags.master_addr = Text(arguments, "master_addr");
  const absl::StatusOr<LaunchEnv> env = ResolveLaunch(ReadEnvironment(), flags);
  if (env.ok() && env->role == Role::kParent) {
    SuperviseOptions options;
    options.stall_timeout_seconds = Number(arguments, "stall", 60);
    options.max_restarts = Number(arguments, "restarts", 0);
    return Supervise(*env, options, std::vector<std::string>(argv, argv + argc));
  }
  const absl::StatusOr<int> code = env.ok() ? RunRank(*env, arguments) : env.status();
  if (code.ok()) return *code;
  std::fprintf(stderr, "%s\n", std::string(code.status().message()).c_str());
  return kExitUserError;
}

}  // namespace lockstep::dist
