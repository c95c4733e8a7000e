// Every fault, done to ranks on GPUs: two or three of them.
#include <algorithm>

#include "dist/testing.h"
#include "tensor/runtime.h"
#include "tests/fault_suite.h"

namespace lockstep {
namespace {

FaultDevice Gpus() {
  return {"Gpu", "--device=cuda", CudaDeviceCount() == 1 ? "cuda:0 " : "cuda:1 ",
          std::clamp(dist::MostGpuRanks(), 2, 3)};
}

INSTANTIATE_TEST_SUITE_P(Gpu, FaultTest, ::testing::ValuesIn(FaultCasesOn(Gpus())), NameOfCase);
INSTANTIATE_TEST_SUITE_P(Gpu, LauncherFaultTest, ::testing::Values(Gpus()));

}  // namespace
}  // namespace lockstep
