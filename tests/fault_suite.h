// Abstract tests: every fault, done to the real program on the devices that a test instantiates
// them with (fault_test.cc, fault_gpu_test.cc).
#pragma once

#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

#include "tests/faults.h"

namespace lockstep {

struct FaultCase {
  FaultDevice device;
  Fault fault;
};
void PrintTo(const FaultCase& c, std::ostream* os);  // instead of its bytes
std::vector<FaultCase> FaultCasesOn(const FaultDevice& device);

class FaultSuite : public ::testing::Test {
 protected:
  std::vector<std::string> FlagsFor(const FaultDevice& device, const std::string& folder,
                                    const std::vector<std::string>& more) const;

  const TinyInput input_ = MakeFaultInput();
};

// How soon a run ends, with which exit code, what it says, that nothing stays behind, and that its
// newest checkpoint is whole and the same command goes on from it. Skips without enough GPUs.
class FaultTest : public FaultSuite, public ::testing::WithParamInterface<FaultCase> {
 protected:
  void SetUp() override;
  void ExpectGoesOn(const std::string& folder) const;
};

// Ranks that a launcher started, without a parent of ours.
class LauncherFaultTest : public FaultSuite, public ::testing::WithParamInterface<FaultDevice> {
 protected:
  void SetUp() override;
};

// Of a test's parameter, for its name.
std::string NameOfCase(const ::testing::TestParamInfo<FaultCase>& info);

}  // namespace lockstep
