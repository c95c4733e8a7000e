// Fine-tunes a causal language model with LoRA, or all of its weights, on one or many ranks.
//
//   bazel run //trainer:train                                   the example that comes with it
//   bazel run //trainer:train -- --model=DIR --train_file=DATA.jsonl --nproc_per_node=4
//
// A process is the parent that starts and watches over ranks, or one of the ranks.
#include <signal.h>

#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "dist/launch_env.h"
#include "dist/supervisor.h"
#include "trainer/flags/flag_table.h"
#include "trainer/flags/options.h"
#include "trainer/flags/program.h"
#include "trainer/output_folder.h"
#include "trainer/preflight.h"
#include "trainer/report/startup_times.h"
#include "trainer/run.h"
#include "trainer/run_start.h"

namespace lockstep {
namespace {

// Checks the run, then starts its ranks and answers for them.
absl::StatusOr<int> RunParent(const TrainOptions& options, const dist::LaunchEnv& env,
                              std::vector<std::string> argv) {
  StartupTimes::MarkParentStart();
  OutputFolder folder;
  ASSIGN_OR_RETURN(const RunStart start, CheckBeforeLaunch(options, env.local_world_size, &folder));
  if (start.kind == RunStart::Kind::kFinished) {
    SayThatItIsFinished(start);
    return dist::kExitDone;
  }
  // The defaults of folder and date have the time in them: from here on they are fixed.
  argv.push_back(absl::StrCat("--output_dir=", start.folder));
  argv.push_back(absl::StrCat("--template_date=", options.data.encode.template_date));
  if (options.data.read_streams) {
    argv.push_back(absl::StrCat("--train_file=", absl::StrJoin(options.data.train_files, ",")));
    argv.push_back(
        absl::StrCat("--validation_file=", absl::StrJoin(options.data.validation_files, ",")));
  }
  dist::SuperviseOptions supervise;
  supervise.stall_timeout_seconds = options.stall_timeout_s;
  supervise.max_restarts = static_cast<int>(options.max_restarts);
  const int exit_code = dist::Supervise(env, supervise, argv);
  const std::string onward = HowItGoesOn(start, options);
  if (exit_code == dist::kExitRankLost && !onward.empty()) {
    std::fprintf(stderr, "HINT: %s\n", onward.c_str());
  }
  return exit_code;
}

absl::StatusOr<int> Train(int argc, char** argv) {
  RETURN_IF_ERROR(ParseTrainFlags(argc, argv));
  if (PrintedHelp()) return dist::kExitDone;
  if (VersionRequested()) {
    PrintVersions();
    return dist::kExitDone;
  }
  ASSIGN_OR_RETURN(const TrainOptions options, ReadTrainFlags());
  ASSIGN_OR_RETURN(const dist::LaunchEnv env,
                   dist::ResolveLaunch(dist::ReadEnvironment(), options.launch));
  if (options.dry_run) {
    RETURN_IF_ERROR(PrintPlans(options, env));
    return dist::kExitDone;
  }
  if (env.role == dist::Role::kParent) {
    return RunParent(options, env, std::vector<std::string>(argv, argv + argc));
  }
  return RunRank(options, env);
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is an error of write(), as a full disk is
  lockstep::StartProcess(argv[0]);
  const absl::StatusOr<int> exit_code = lockstep::Train(argc, argv);
  std::fflush(stdout);
  if (exit_code.ok()) return *exit_code;
  lockstep::PrintError(exit_code.status());
  return lockstep::dist::kExitUserError;
}
