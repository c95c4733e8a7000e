#include "dist/launch_env.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/file.h"

namespace lockstep::dist {
namespace {

using ::testing::HasSubstr;

const Environment kTorchrun = {
    {"RANK", "5"},        {"WORLD_SIZE", "8"},          {"LOCAL_RANK", "1"},
    {"GROUP_RANK", "1"},  {"LOCAL_WORLD_SIZE", "4"},    {"MASTER_ADDR", "10.0.0.1"},
    {"MASTER_PORT", "9"}, {"TORCHELASTIC_RUN_ID", "j"}, {"TORCHELASTIC_USE_AGENT_STORE", "True"}};
const Environment kOpenMpi = {{"OMPI_COMM_WORLD_RANK", "3"},
                              {"OMPI_COMM_WORLD_SIZE", "4"},
                              {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                              {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}};
const Environment kPmi = {
    {"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"MPI_LOCALRANKID", "1"}, {"MPI_LOCALNRANKS", "2"}};
const Environment kSlurm = {{"SLURM_PROCID", "2"},
                            {"SLURM_NTASKS", "3"},
                            {"SLURM_LOCALID", "0"},
                            {"SLURM_NODEID", "1"},
                            {"SLURM_NNODES", "2"},
                            {"SLURM_JOB_ID", "1200007"},
                            {"SLURM_STEP_ID", "0"},
                            {"SLURM_STEP_NODELIST", "gpu[07-08]"},
                            {"SLURM_STEP_TASKS_PER_NODE", "2,1"},
                            {"SLURM_LAUNCH_NODE_IPADDR", "192.168.9.9"}};

Environment Merge(Environment a, const Environment& b) {
  a.insert(b.begin(), b.end());
  return a;
}

LaunchEnv Resolve(const Environment& environment, const LaunchFlags& flags = {}) {
  absl::StatusOr<LaunchEnv> env = ResolveLaunch(environment, flags);
  EXPECT_TRUE(env.ok()) << env.status();
  return env.value_or(LaunchEnv());
}

std::string ErrorOf(const Environment& environment, const LaunchFlags& flags = {}) {
  return std::string(ResolveLaunch(environment, flags).status().message());
}

TEST(LaunchEnv, ByHandIsTheParentOfItsRanksEvenOfOne) {
  LaunchEnv env = Resolve({});
  EXPECT_EQ(env.role, Role::kParent);
  EXPECT_EQ(env.world_size, 1);
  EXPECT_EQ(env.master_addr, "127.0.0.1");
  LaunchFlags flags;
  flags.default_nproc_per_node = 4;
  EXPECT_EQ(Resolve({}, flags).world_size, 4);
  flags.nproc_per_node = 3;
  EXPECT_EQ(Resolve({}, flags).world_size, 3);
}

TEST(LaunchEnv, Torchrun) {
  const LaunchEnv env = Resolve(kTorchrun);
  EXPECT_EQ(env.role, Role::kRank);
  EXPECT_EQ(env.source, "torchrun");
  EXPECT_EQ(env.rank, 5);
  EXPECT_EQ(env.local_rank, 1);
  EXPECT_EQ(env.world_size, 8);
  EXPECT_EQ(env.local_world_size, 4);
  EXPECT_EQ(env.node, 1);
  EXPECT_EQ(env.num_nodes, 2);
  EXPECT_EQ(env.master_addr, "10.0.0.1");
  EXPECT_EQ(env.master_port, 10);  // the agent's store has MASTER_PORT itself
  EXPECT_EQ(env.port_candidates, 16);
  EXPECT_FALSE(env.serves_store());
}

TEST(LaunchEnv, OpenMpiNamesNoMeetingPoint) {
  EXPECT_THAT(ErrorOf(kOpenMpi), HasSubstr("--master_addr"));
  LaunchFlags flags;
  flags.master_addr = "head";
  flags.master_port = 1234;
  const LaunchEnv env = Resolve(kOpenMpi, flags);
  EXPECT_EQ(env.source, "Open MPI");
  EXPECT_EQ(env.rank, 3);
  EXPECT_EQ(env.node, 1);
  EXPECT_EQ(env.master_addr, "head");
  EXPECT_EQ(env.master_port, 1234);
}

TEST(LaunchEnv, PmiOnOneNodeMeetsOnLoopback) {
  const LaunchEnv env = Resolve(kPmi);
  EXPECT_EQ(env.source, "PMI");
  EXPECT_EQ(env.rank, 1);
  EXPECT_EQ(env.master_addr, "127.0.0.1");
}

TEST(LaunchEnv, SlurmTakesTheFirstNodeOfTheStep) {
  const LaunchEnv env = Resolve(kSlurm);
  EXPECT_EQ(env.source, "Slurm");
  EXPECT_EQ(env.rank, 2);
  EXPECT_EQ(env.local_world_size, 1);
  EXPECT_EQ(env.num_nodes, 2);
  EXPECT_EQ(env.master_addr, "gpu07");
  EXPECT_EQ(env.master_port, 15007);
}

TEST(LaunchEnv, SlurmOutsideOfAStepIsNoLauncher) {
  Environment batch = kSlurm;
  batch.erase("SLURM_STEP_ID");
  batch.erase("SLURM_STEP_NODELIST");
  EXPECT_EQ(Resolve(batch).source, "by hand");
}

TEST(LaunchEnv, Precedence) {
  Environment all = Merge(Merge(Merge(kTorchrun, kOpenMpi), kPmi), kSlurm);
  EXPECT_EQ(Resolve(all).source, "torchrun");
  all.erase("RANK");
  LaunchFlags flags;
  flags.master_addr = "head";
  EXPECT_EQ(Resolve(all, flags).source, "Open MPI");
  all.erase("OMPI_COMM_WORLD_RANK");
  EXPECT_EQ(Resolve(all, flags).source, "PMI");
  all.erase("PMI_RANK");
  EXPECT_EQ(Resolve(all, flags).source, "Slurm");
  EXPECT_EQ(Resolve(all, flags).master_addr, "head");
}

TEST(LaunchEnv, FlagsBeatLeftOverVariables) {
  Environment left_over = {{"RANK", "1"},
                           {"WORLD_SIZE", "2"},
                           {"LOCAL_RANK", "1"},
                           {"MASTER_ADDR", "localhost"},
                           {"MASTER_PORT", "29500"}};
  LaunchFlags flags;
  flags.nproc_per_node = 3;
  EXPECT_EQ(Resolve(left_over, flags).source, "by hand");
  EXPECT_EQ(Resolve(left_over, flags).world_size, 3);
}

TEST(LaunchEnv, FlagsThatContradictALauncherAreAnError) {
  LaunchFlags flags;
  flags.nproc_per_node = 3;
  EXPECT_THAT(ErrorOf(kTorchrun, flags), HasSubstr("--nproc_per_node=3"));
  flags.nproc_per_node = 4;  // what torchrun did
  EXPECT_EQ(Resolve(kTorchrun, flags).source, "torchrun");
  flags.nnodes = 3;
  EXPECT_THAT(ErrorOf(kTorchrun, flags), HasSubstr("--nnodes=3, but it started 2"));
  flags.nnodes = 2;
  flags.node_rank = 0;
  EXPECT_THAT(ErrorOf(kTorchrun, flags), HasSubstr("--node_rank=0, but it says node 1"));
  flags.node_rank = 1;
  EXPECT_EQ(Resolve(kTorchrun, flags).node, 1);
}

TEST(LaunchEnv, OneTaskANodeCanBeTheParentOfItsNode) {
  Environment environment = kSlurm;
  environment["SLURM_PROCID"] = "1";
  environment["SLURM_NTASKS"] = "2";
  environment["SLURM_STEP_TASKS_PER_NODE"] = "1(x2)";
  LaunchFlags flags;
  flags.nproc_per_node = 8;
  const LaunchEnv env = Resolve(environment, flags);
  EXPECT_EQ(env.role, Role::kParent);
  EXPECT_EQ(env.world_size, 16);
  EXPECT_EQ(env.rank, 8);
  EXPECT_EQ(env.master_addr, "gpu07");
}

TEST(LaunchEnv, NeverLoopbackOnSeveralNodes) {
  LaunchFlags flags;
  flags.nnodes = 2;
  flags.node_rank = 1;
  EXPECT_THAT(ErrorOf({}, flags), HasSubstr("[--master_addr] 2 nodes: want the address of node 0"));
  for (const char* address : {"localhost", "127.0.1.1", "::1"}) {
    flags.master_addr = address;
    EXPECT_THAT(ErrorOf({}, flags), HasSubstr(address));
  }
  Environment torchrun = kTorchrun;
  torchrun["MASTER_ADDR"] = "127.0.0.1";
  EXPECT_THAT(ErrorOf(torchrun), HasSubstr("MASTER_ADDR"));
}

TEST(LaunchEnv, EveryNodeWouldBeNodeZero) {
  LaunchFlags flags;
  flags.nnodes = 2;
  flags.master_addr = "head";
  EXPECT_THAT(ErrorOf({}, flags), HasSubstr("--node_rank"));
  flags.node_rank = 2;
  EXPECT_THAT(ErrorOf({}, flags), HasSubstr("want below --nnodes=2, got 2"));
  flags.node_rank = 1;
  EXPECT_EQ(Resolve({}, flags).node, 1);
}

TEST(LaunchEnv, BadNumbersNameTheirVariable) {
  Environment environment = kTorchrun;
  environment["WORLD_SIZE"] = "eight";
  EXPECT_THAT(ErrorOf(environment), HasSubstr("WORLD_SIZE"));
  environment = kTorchrun;
  environment.erase("LOCAL_RANK");
  EXPECT_THAT(ErrorOf(environment), HasSubstr("LOCAL_RANK"));
  environment = kTorchrun;
  environment["RANK"] = "8";
  EXPECT_THAT(ErrorOf(environment), HasSubstr("rank 8 of 8"));
  LaunchFlags flags;
  flags.nproc_per_node = 0;
  EXPECT_THAT(ErrorOf({}, flags), HasSubstr("--nproc_per_node"));
}

TEST(LaunchEnv, ARankFindsWhatItsParentSaid) {
  LaunchEnv rank;
  rank.role = Role::kRank;
  rank.rank = 6;
  rank.local_rank = 2;
  rank.world_size = 8;
  rank.local_world_size = 4;
  rank.node = 1;
  rank.num_nodes = 2;
  rank.master_addr = "10.0.0.1";
  rank.master_port = 4711;
  rank.token = "secret";
  LaunchFlags flags;
  flags.nproc_per_node = 4;
  const LaunchEnv env = Resolve(Merge(VariablesFor(rank), kSlurm), flags);
  EXPECT_EQ(env.role, Role::kRank);
  EXPECT_TRUE(env.has_parent);
  EXPECT_EQ(env.rank, 6);
  EXPECT_EQ(env.local_rank, 2);
  EXPECT_EQ(env.world_size, 8);
  EXPECT_EQ(env.local_world_size, 4);
  EXPECT_EQ(env.node, 1);
  EXPECT_EQ(env.num_nodes, 2);
  EXPECT_EQ(env.master_port, 4711);
  EXPECT_EQ(env.token, "secret");
}

TEST(LaunchEnv, TokensTellRunsApart) {
  Environment other = kTorchrun;
  other["TORCHELASTIC_RUN_ID"] = "k";
  EXPECT_NE(Resolve(kTorchrun).token, Resolve(other).token);
  other = kTorchrun;
  other["RANK"] = "0";
  other["LOCAL_RANK"] = "0";
  EXPECT_EQ(Resolve(kTorchrun).token, Resolve(other).token);
}

// Under a launcher on one node nobody draws a token, but the user has a secret.
TEST(LaunchEnvTest, OnOneNodeTheTokenIsSecretAndTheStoreIsOnLoopback) {
  Environment variables = {{"RANK", "0"},
                           {"WORLD_SIZE", "2"},
                           {"LOCAL_RANK", "0"},
                           {"LOCAL_WORLD_SIZE", "2"},
                           {"MASTER_ADDR", "10.0.0.1"},
                           {"TORCHELASTIC_RUN_ID", "none"},
                           {"XDG_CACHE_HOME", ::testing::TempDir() + "/one"}};
  const auto one = ResolveLaunch(variables, {});
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ(one->master_addr, "127.0.0.1");
  EXPECT_EQ(ResolveLaunch(variables, {})->token, one->token);
  variables["XDG_CACHE_HOME"] = ::testing::TempDir() + "/other";
  EXPECT_NE(ResolveLaunch(variables, {})->token, one->token);
  // Two nodes may not share a home.
  variables["LOCAL_WORLD_SIZE"] = "1";
  const auto two = ResolveLaunch(variables, {});
  variables["XDG_CACHE_HOME"] = ::testing::TempDir() + "/one";
  EXPECT_EQ(ResolveLaunch(variables, {})->token, two->token);
  EXPECT_EQ(two->master_addr, "10.0.0.1");
  // Unless the user has put one into each.
  variables["XDG_CONFIG_HOME"] = ::testing::TempDir() + "/config";
  const std::string folder = variables["XDG_CONFIG_HOME"] + "/lockstep";
  ASSERT_TRUE(MakeDirectories(folder).ok());
  ASSERT_TRUE(WriteFileAtomically(folder + "/secret", std::string(32, 'x')).ok());
  ASSERT_EQ(chmod((folder + "/secret").c_str(), 0600), 0);
  EXPECT_NE(ResolveLaunch(variables, {})->token, two->token);
  // What is said for this run alone beats all of it; a hello has room for 32 characters.
  variables["LOCKSTEP_RUN_TOKEN"] = "0123456789abcdef0123456789abcdef and more";
  EXPECT_EQ(ResolveLaunch(variables, {})->token, "0123456789abcdef0123456789abcdef");
}

TEST(LaunchEnvTest, ALineSaysWhoAndFromWhichVariables) {
  const auto rank = ResolveLaunch({{"RANK", "3"},
                                   {"WORLD_SIZE", "4"},
                                   {"LOCAL_RANK", "1"},
                                   {"LOCAL_WORLD_SIZE", "2"},
                                   {"MASTER_ADDR", "10.0.0.1"},
                                   {"MASTER_PORT", "29400"}},
                                  {});
  ASSERT_TRUE(rank.ok()) << rank.status();
  EXPECT_EQ(Describe(*rank),
            "rank 3 of 4, local rank 1, node 1 of 2, store at 10.0.0.1:29400, by torchrun: RANK "
            "WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT");
  LaunchFlags flags;
  flags.nproc_per_node = 2;
  const auto parent = ResolveLaunch({}, flags);
  ASSERT_TRUE(parent.ok()) << parent.status();
  EXPECT_EQ(Describe(*parent),
            "parent of ranks 0 to 1, node 0 of 1, store at 127.0.0.1:any free port, by hand: "
            "--nproc_per_node");
  LaunchEnv child = *parent;
  child.role = Role::kRank;
  child.master_port = 1234;
  child.token = "t";
  EXPECT_EQ(ResolveLaunch(VariablesFor(child), {})->launch, parent->launch);
}

}  // namespace
}  // namespace lockstep::dist
