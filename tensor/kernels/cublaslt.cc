#include "tensor/kernels/cublaslt.h"

#include <map>
#include <mutex>

#include "base/check.h"

namespace lockstep::kernels::cuda::cublaslt {
namespace {

#define LT_CHECK(call)                                                        \
  do {                                                                        \
    const cublasStatus_t status = (call);                                     \
    CHECK(status == CUBLAS_STATUS_SUCCESS)                                    \
        << "[gemm] cuBLASLt: " #call ": " << cublasLtGetStatusString(status); \
  } while (false)

constexpr size_t kWorkspaceBytes = size_t{64} << 20;

// One GPU a process: one handle, one workspace.
struct Library {
  cublasLtHandle_t handle;
  void* workspace;

  static const Library& Get() {
    static const Library* library = new Library;
    return *library;
  }

  Library() {
    LT_CHECK(cublasLtCreate(&handle));
    CHECK_EQ(cudaMalloc(&workspace, kWorkspaceBytes), cudaSuccess);
  }
};

cublasLtMatrixLayout_t MakeLayout(cudaDataType_t type, int64_t rows, int64_t columns, int64_t ld) {
  cublasLtMatrixLayout_t layout;
  LT_CHECK(cublasLtMatrixLayoutCreate(&layout, type, rows, columns, ld));
  return layout;
}

template <typename T>
void Set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t name,
         T value) {
  LT_CHECK(cublasLtMatmulPreferenceSetAttribute(preference, name, &value, sizeof(value)));
}

template <typename T>
void Set(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t name, T value) {
  LT_CHECK(cublasLtMatmulDescSetAttribute(operation, name, &value, sizeof(value)));
}

template <typename T>
T Get(const cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoConfigAttributes_t name) {
  T value = {};
  size_t written = 0;
  LT_CHECK(cublasLtMatmulAlgoConfigGetAttribute(&algorithm, name, &value, sizeof(value), &written));
  return value;
}

template <typename T>
bool TrySet(cublasLtMatmulAlgo_t* algorithm, cublasLtMatmulAlgoConfigAttributes_t name, T value) {
  return cublasLtMatmulAlgoConfigSetAttribute(algorithm, name, &value, sizeof(value)) ==
         CUBLAS_STATUS_SUCCESS;
}

// For the widest products of 8B (gate_up, down's input gradient, the head) the library puts tiles
// of 192x192 and 320x128 first. Those of 256x128, which it suggests next and takes for all others,
// need less energy, which is what a GPU at its power limit has to save: a step becomes 0.3 %
// shorter (docs/experiments.md, "Choosing between kernels").
constexpr int kSuggestions = 8;

bool IsWide(const Problem& p) {
  return p.a_type == CUDA_R_16BF && p.c_type == CUDA_R_16BF && !p.a_transposed && !p.has_bias &&
         p.m >= 512 && p.k >= 4096 && p.n >= 3 * p.k;
}

// The library offers kernels only for operations that know their scales' addresses: any will do.
void SetScales(cublasLtMatmulDesc_t operation, const void* first, const void* second) {
  Set(operation, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, first);
  Set(operation, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, second);
}

bool OnHopper() {
  int device = 0, major = 0;
  CHECK_EQ(cudaGetDevice(&device), cudaSuccess);
  CHECK_EQ(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), cudaSuccess);
  return major == 9;
}

}  // namespace

Product::Product(const Problem& p) : problem_(p), in_double_(p.c_type == CUDA_R_64F) {
  LT_CHECK(cublasLtMatmulDescCreate(&operation_,
                                    in_double_ ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F,
                                    in_double_ ? CUDA_R_64F : CUDA_R_32F));
  Set(operation_, CUBLASLT_MATMUL_DESC_TRANSA, p.b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
  Set(operation_, CUBLASLT_MATMUL_DESC_TRANSB, p.a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
  if (p.has_bias) {
    Set(operation_, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    Set(operation_, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, p.bias_type);
  }
  if (p.has_scales()) {
    const cublasLtMatmulMatrixScale_t each_row = CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
    Set(operation_, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, each_row);
    Set(operation_, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, each_row);
    SetScales(operation_, Library::Get().workspace, Library::Get().workspace);
  }
  first_ = p.b_transposed ? MakeLayout(p.b_type, p.k, p.n, p.b_ld)
                          : MakeLayout(p.b_type, p.n, p.k, p.b_ld);
  second_ = p.a_transposed ? MakeLayout(p.a_type, p.m, p.k, p.a_ld)
                           : MakeLayout(p.a_type, p.k, p.m, p.a_ld);
  result_ = MakeLayout(p.c_type, p.n, p.m, p.c_ld);
}

std::vector<Candidate> Product::Suggestions(int count) const {
  cublasLtMatmulPreference_t preference;
  LT_CHECK(cublasLtMatmulPreferenceCreate(&preference));
  Set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
  Set<uint32_t>(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                CUBLASLT_REDUCTION_SCHEME_MASK & ~CUBLASLT_REDUCTION_SCHEME_INPLACE);
  Set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, problem_.b_alignment);
  Set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, problem_.a_alignment);
  Set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, problem_.c_alignment);
  Set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, problem_.c_alignment);
  std::vector<Candidate> candidates(count);
  int found = 0;
  LT_CHECK(cublasLtMatmulAlgoGetHeuristic(Library::Get().handle, operation_, first_, second_,
                                          result_, result_, preference, count, candidates.data(),
                                          &found));
  cublasLtMatmulPreferenceDestroy(preference);
  CHECK_GT(found, 0) << "[gemm] cuBLASLt has no kernel for this product";
  candidates.resize(found);
  return candidates;
}

cublasLtMatmulAlgo_t Product::FirstSuggestion() const { return Suggestions(1).front().algo; }

cublasLtMatmulAlgo_t Product::Choice() const {
  if (!IsWide(problem_) || !OnHopper()) return FirstSuggestion();
  const std::vector<Candidate> suggestions = Suggestions(kSuggestions);
  if (ConfigurationOf(suggestions[0].algo).split_k > 1) return suggestions[0].algo;
  for (const Candidate& suggestion : suggestions) {
    const Configuration x = ConfigurationOf(suggestion.algo);
    if ((x.tile == CUBLASLT_MATMUL_TILE_256x128 || x.tile == CUBLASLT_MATMUL_TILE_128x256) &&
        x.split_k <= 1) {
      return suggestion.algo;
    }
  }
  return suggestions[0].algo;
}

bool Product::Takes(const cublasLtMatmulAlgo_t& algorithm, Candidate* candidate) const {
  Candidate checked;
  if (cublasLtMatmulAlgoCheck(Library::Get().handle, operation_, first_, second_, result_, result_,
                              &algorithm, &checked) != CUBLAS_STATUS_SUCCESS ||
      checked.workspaceSize > kWorkspaceBytes) {
    return false;
  }
  *candidate = checked;
  candidate->algo = algorithm;
  return true;
}

void Product::Run(cudaStream_t stream, const cublasLtMatmulAlgo_t& algorithm,
                  const Operands& x) const {
  if (x.bias != nullptr) Set(operation_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, x.bias);
  if (problem_.has_scales()) SetScales(operation_, x.b_scales, x.a_scales);
  const float alpha = static_cast<float>(x.alpha), beta = static_cast<float>(x.beta);
  const void* alpha_at = in_double_ ? static_cast<const void*>(&x.alpha) : &alpha;
  const void* beta_at = in_double_ ? static_cast<const void*>(&x.beta) : &beta;
  const Library& library = Library::Get();
  LT_CHECK(cublasLtMatmul(library.handle, operation_, alpha_at, x.b, first_, x.a, second_, beta_at,
                          x.c, result_, x.c, result_, &algorithm, library.workspace,
                          kWorkspaceBytes, stream));
}

uint32_t Alignment(const void* data) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(data);
  for (uint32_t alignment = 256; alignment > 1; alignment /= 2) {
    if (address % alignment == 0) return alignment;
  }
  return 1;
}

const Plan& PlanFor(const Problem& problem) {
  static std::mutex* mutex = new std::mutex;
  static std::map<Problem, Plan>* plans = new std::map<Problem, Plan>;
  std::lock_guard<std::mutex> lock(*mutex);
  return plans->try_emplace(problem, problem).first->second;
}

std::vector<int> TilesOf(const cublasLtMatmulAlgo_t& algorithm) {
  size_t bytes = 0;
  LT_CHECK(cublasLtMatmulAlgoCapGetAttribute(&algorithm, CUBLASLT_ALGO_CAP_TILE_IDS, nullptr, 0,
                                             &bytes));
  std::vector<int> tiles(bytes / sizeof(int));
  LT_CHECK(cublasLtMatmulAlgoCapGetAttribute(&algorithm, CUBLASLT_ALGO_CAP_TILE_IDS, tiles.data(),
                                             bytes, &bytes));
  return tiles;
}

int CustomOptionsOf(const cublasLtMatmulAlgo_t& algorithm) {
  int most = 0;
  size_t bytes = 0;
  LT_CHECK(cublasLtMatmulAlgoCapGetAttribute(&algorithm, CUBLASLT_ALGO_CAP_CUSTOM_OPTION_MAX, &most,
                                             sizeof(most), &bytes));
  return most + 1;
}

Configuration ConfigurationOf(const cublasLtMatmulAlgo_t& algorithm) {
  return {Get<int>(algorithm, CUBLASLT_ALGO_CONFIG_TILE_ID),
          Get<int>(algorithm, CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION),
          Get<uint16_t>(algorithm, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID),
          Get<int>(algorithm, CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING),
          Get<int>(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM)};
}

bool Configure(const Configuration& configuration, cublasLtMatmulAlgo_t* algorithm) {
  return TrySet(algorithm, CUBLASLT_ALGO_CONFIG_TILE_ID, configuration.tile) &&
         TrySet(algorithm, CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, configuration.custom) &&
         TrySet(algorithm, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID,
                static_cast<uint16_t>(configuration.cluster)) &&
         TrySet(algorithm, CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING, configuration.swizzle);
}

}  // namespace lockstep::kernels::cuda::cublaslt
