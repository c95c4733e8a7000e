#include "tools/benchmarks/gemm_candidates_cuda.h"

#include <algorithm>
#include <random>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"

namespace lockstep {
namespace {

namespace lt = kernels::cuda::cublaslt;

constexpr double kLeastArea = 24000;  // smaller tiles read more (docs/experiments.md)
constexpr int kMostCustom = 16;

std::vector<lt::Configuration> ConfigurationsOf(int tile, int custom_options) {
  std::vector<lt::Configuration> all;
  for (int custom = 0; custom < std::min(custom_options, kMostCustom); ++custom) {
    for (const int cluster : {CUBLASLT_CLUSTER_SHAPE_1x1x1, CUBLASLT_CLUSTER_SHAPE_2x1x1,
                              CUBLASLT_CLUSTER_SHAPE_1x2x1, CUBLASLT_CLUSTER_SHAPE_2x2x1,
                              CUBLASLT_CLUSTER_SHAPE_4x1x1, CUBLASLT_CLUSTER_SHAPE_1x4x1}) {
      for (const int swizzle : {0, 1}) all.push_back({tile, custom, cluster, swizzle, 1});
    }
  }
  return all;
}

double AreaOf(const lt::Candidate& candidate, const GemmProduct& shape) {
  int device = 0, multiprocessors = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
  return static_cast<double>(shape.m) * static_cast<double>(shape.n) /
         (candidate.wavesCount * multiprocessors);
}

}  // namespace

lt::Problem ProblemOf(const GemmProduct& p) {
  return {.a_type = CUDA_R_16BF,
          .b_type = CUDA_R_16BF,
          .c_type = CUDA_R_16BF,
          .bias_type = CUDA_R_32F,
          .a_transposed = false,
          .b_transposed = p.transposed_b,
          .has_bias = false,
          .reads_c = p.adds,
          .m = p.m,
          .n = p.n,
          .k = p.k,
          .a_ld = p.k,
          .b_ld = p.transposed_b ? p.k : p.n,
          .c_ld = p.n,
          .a_alignment = 256,
          .b_alignment = 256,
          .c_alignment = 256};
}

std::vector<GemmCandidate> GemmCandidates(const lt::Product& product, const GemmProduct& shape) {
  std::vector<GemmCandidate> candidates;
  std::set<std::string> names;
  const auto add = [&](const lt::Candidate& candidate, bool suggested) {
    const double area = AreaOf(candidate, shape);
    const bool wanted = area >= kLeastArea && lt::ConfigurationOf(candidate.algo).split_k <= 1;
    if ((candidates.empty() || wanted) && names.insert(NameOf(candidate.algo)).second) {
      candidates.push_back({candidate.algo, area, suggested});
    }
    return area >= kLeastArea;
  };
  for (const lt::Candidate& suggestion : product.Suggestions(64)) add(suggestion, true);
  const auto suggestions = static_cast<int64_t>(candidates.size());
  const cublasLtMatmulAlgo_t like = candidates[0].algorithm;
  for (const int tile : lt::TilesOf(like)) {
    bool large = true;
    for (const lt::Configuration& x : ConfigurationsOf(tile, lt::CustomOptionsOf(like))) {
      cublasLtMatmulAlgo_t algorithm = like;
      lt::Candidate candidate;
      if (large && lt::Configure(x, &algorithm) && product.Takes(algorithm, &candidate)) {
        large = add(candidate, false);
      }
    }
  }
  std::shuffle(candidates.begin() + suggestions, candidates.end(), std::mt19937(7));
  return candidates;
}

std::string NameOf(const cublasLtMatmulAlgo_t& algorithm) {
  const lt::Configuration x = lt::ConfigurationOf(algorithm);
  return absl::StrCat(x.tile, ".", x.custom, ".", x.cluster, ".", x.swizzle);
}

}  // namespace lockstep
