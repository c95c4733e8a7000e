#include "base/status.h"
#include "tools/benchmarks/gemm_search.h"

namespace lockstep {

absl::Status BenchGemmSearch(const GemmSearchOptions&) {
  return UserError("gemm_search", "this build is without CUDA", "it compares kernels of cuBLASLt");
}

}  // namespace lockstep
