// Every fault, done to ranks on CPUs: two more than the one that is hit.
#include "tests/fault_suite.h"

namespace lockstep {
namespace {

const FaultDevice kCpus = {"Cpu", "--device=cpu", ", cpu)", 3};

INSTANTIATE_TEST_SUITE_P(Cpu, FaultTest, ::testing::ValuesIn(FaultCasesOn(kCpus)), NameOfCase);
INSTANTIATE_TEST_SUITE_P(Cpu, LauncherFaultTest, ::testing::Values(kCpus));

}  // namespace
}  // namespace lockstep
