// Matrix products in cuBLASLt's terms: descriptors, the kernels that it offers, running one.
//
// cuBLASLt's matrices are column-major. A row-major C = A·B is the column-major Cᵀ = Bᵀ·Aᵀ, so B is
// its first operand, A its second, and N, M, K its sizes. Here everything is row-major, as in
// gemm.h.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <tuple>
#include <vector>

namespace lockstep::kernels::cuda::cublaslt {

// Everything that an algorithm is chosen by: C [m, n] = A [m, k] · B [k, n]. Operands of 8 bits
// have scales: of each row of A and of each column of B.
struct Problem {
  cudaDataType_t a_type, b_type, c_type, bias_type;
  bool a_transposed, b_transposed, has_bias, reads_c;
  int64_t m, n, k, a_ld, b_ld, c_ld;
  uint32_t a_alignment, b_alignment, c_alignment;  // bytes, powers of two

  auto Key() const {
    return std::tie(a_type, b_type, c_type, bias_type, a_transposed, b_transposed, has_bias,
                    reads_c, m, n, k, a_ld, b_ld, c_ld, a_alignment, b_alignment, c_alignment);
  }
  friend bool operator<(const Problem& x, const Problem& y) { return x.Key() < y.Key(); }
  bool has_scales() const { return a_type == CUDA_R_8F_E4M3; }
};

// Of an address, as far as kernels ask.
uint32_t Alignment(const void* data);

// A kernel that computes a problem, as the library's heuristic describes it.
using Candidate = cublasLtMatmulHeuristicResult_t;

struct Operands {
  const void *a, *b;
  void* c;
  const void* bias;  // null: none
  double alpha, beta;
  const void* a_scales = nullptr;  // f32 [m], [n], where the problem has_scales()
  const void* b_scales = nullptr;
};

// The library's descriptors of a problem. They live as long as the process, as plans do.
class Product {
 public:
  explicit Product(const Problem& problem);

  // At most `count` of the library's suggestions, best first by its own estimate. Equal on every
  // GPU of a kind; every one sums in an order of its own that never changes.
  std::vector<Candidate> Suggestions(int count) const;
  cublasLtMatmulAlgo_t FirstSuggestion() const;

  // What training takes: the first suggestion, but for wide outputs on Hopper the first one that
  // takes less energy. Equal on every GPU of a kind; the bits are the first suggestion's.
  cublasLtMatmulAlgo_t Choice() const;

  // Whether the algorithm can compute this problem; if so `candidate` describes it.
  bool Takes(const cublasLtMatmulAlgo_t& algorithm, Candidate* candidate) const;

  void Run(cudaStream_t stream, const cublasLtMatmulAlgo_t& algorithm,
           const Operands& operands) const;

 private:
  cublasLtMatmulDesc_t operation_;
  cublasLtMatrixLayout_t first_, second_, result_;
  Problem problem_;
  bool in_double_;
};

// A product that is ready to run.
class Plan {
 public:
  explicit Plan(const Problem& problem) : product_(problem), algorithm_(product_.Choice()) {}
  void Run(cudaStream_t stream, const Operands& operands) const {
    product_.Run(stream, algorithm_, operands);
  }

 private:
  Product product_;
  cublasLtMatmulAlgo_t algorithm_;
};

// Made once a process and problem.
const Plan& PlanFor(const Problem& problem);

// The settings of an algorithm that make kernels differ; the numbers are cublasLt.h's.
struct Configuration {
  int tile, custom, cluster, swizzle, split_k;
};
std::vector<int> TilesOf(const cublasLtMatmulAlgo_t& algorithm);  // that it may have
int CustomOptionsOf(const cublasLtMatmulAlgo_t& algorithm);       // how many it may have
Configuration ConfigurationOf(const cublasLtMatmulAlgo_t& algorithm);
// All but split_k. False if the algorithm has no such setting.
bool Configure(const Configuration& configuration, cublasLtMatmulAlgo_t* algorithm);

}  // namespace lockstep::kernels::cuda::cublaslt
