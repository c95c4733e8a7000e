// The kernels that cuBLASLt has for a product.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tensor/kernels/cublaslt.h"
#include "tools/benchmarks/gemm_products.h"

namespace lockstep {

struct GemmCandidate {
  cublasLtMatmulAlgo_t algorithm;
  double tile_area;  // elements of C
  bool suggested;    // by the library
};

// In bf16, contiguous.
kernels::cuda::cublaslt::Problem ProblemOf(const GemmProduct& product);

// The first suggestion, then the library's others, then most settings
// of tile, schedule, cluster and order of blocks, shuffled with a fixed seed; but for the first one
// neither small tiles nor splits of K.
std::vector<GemmCandidate> GemmCandidates(const kernels::cuda::cublaslt::Product& product,
                                          const GemmProduct& shape);

// "tile.custom.cluster.swizzle", the numbers of cublasLt.h.
std::string NameOf(const cublasLtMatmulAlgo_t& algorithm);

}  // namespace lockstep
