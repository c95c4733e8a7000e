// Products through cuBLASLt.
//
// cuBLASLt's matrices are column-major. A row-major C = A·B is the column-major Cᵀ = Bᵀ·Aᵀ, so B is
// its first operand, A its second, and N, M, K its sizes.
//
// Bits: the algorithm is the library's first choice for (types, sizes, strides, alignment,
// hardware), never measured at run time, hence the same on every rank. Split-K may reduce through
// its workspace, in a fixed order; reductions in arrival order (in place, by atomics) are excluded.

#include <cublasLt.h>

#include <map>
#include <mutex>
#include <tuple>

#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/gemm.h"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

constexpr size_t kWorkspaceBytes = size_t{64} << 20;

void CheckLt(cublasStatus_t status, const char* what, int line) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  std::fprintf(stderr, "F %s:%d] cuBLASLt: %s: %s\n", __FILE__, line, what,
               cublasLtGetStatusString(status));
  std::abort();
}
#define LT_CHECK(call) CheckLt((call), #call, __LINE__)

cudaDataType_t TypeOf(const View& x) {
  switch (x.dtype) {
    case DType::kF64:
      return CUDA_R_64F;
    case DType::kF32:
      return CUDA_R_32F;
    case DType::kBF16:
      return CUDA_R_16BF;
    case DType::kF16:
      return CUDA_R_16F;
    default:
      Unsupported("gemm", x);
  }
}

uint32_t Alignment(const void* data) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(data);
  for (uint32_t alignment = 256; alignment > 1; alignment /= 2) {
    if (address % alignment == 0) return alignment;
  }
  return 1;
}

// Everything that an algorithm is chosen by.
struct Problem {
  cudaDataType_t a_type, b_type, c_type, bias_type;
  bool a_transposed, b_transposed, has_bias, reads_c;
  int64_t m, n, k, a_ld, b_ld, c_ld;  // row-major, as in gemm.h
  uint32_t a_alignment, b_alignment, c_alignment;

  auto Key() const {
    return std::tie(a_type, b_type, c_type, bias_type, a_transposed, b_transposed, has_bias,
                    reads_c, m, n, k, a_ld, b_ld, c_ld, a_alignment, b_alignment, c_alignment);
  }
  friend bool operator<(const Problem& x, const Problem& y) { return x.Key() < y.Key(); }
};

// A product that is ready to run: descriptors and algorithm.
struct Plan {
  cublasLtMatmulDesc_t operation;
  cublasLtMatrixLayout_t first, second, result;
  cublasLtMatmulAlgo_t algorithm;
  bool in_double;
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

// One device a process: one handle, one workspace, plans by problem.
class Library {
 public:
  static Library& Get() {
    static Library* library = new Library;
    return *library;
  }

  const Plan& PlanFor(const Problem& p) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = plans_.find(p);
    return found != plans_.end() ? found->second : plans_.emplace(p, MakePlan(p)).first->second;
  }

  cublasLtHandle_t handle() const { return handle_; }
  void* workspace() const { return workspace_; }

 private:
  Library() {
    LT_CHECK(cublasLtCreate(&handle_));
    LOCKSTEP_CUDA_CHECK(cudaMalloc(&workspace_, kWorkspaceBytes));
  }

  Plan MakePlan(const Problem& p) const {
    Plan plan;
    plan.in_double = p.c_type == CUDA_R_64F;
    LT_CHECK(cublasLtMatmulDescCreate(&plan.operation,
                                      plan.in_double ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F,
                                      plan.in_double ? CUDA_R_64F : CUDA_R_32F));
    Set(plan.operation, CUBLASLT_MATMUL_DESC_TRANSA, p.b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    Set(plan.operation, CUBLASLT_MATMUL_DESC_TRANSB, p.a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (p.has_bias) {
      Set(plan.operation, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
      Set(plan.operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, p.bias_type);
    }
    plan.first = p.b_transposed ? MakeLayout(p.b_type, p.k, p.n, p.b_ld)
                                : MakeLayout(p.b_type, p.n, p.k, p.b_ld);
    plan.second = p.a_transposed ? MakeLayout(p.a_type, p.m, p.k, p.a_ld)
                                 : MakeLayout(p.a_type, p.k, p.m, p.a_ld);
    plan.result = MakeLayout(p.c_type, p.n, p.m, p.c_ld);

    cublasLtMatmulPreference_t preference;
    LT_CHECK(cublasLtMatmulPreferenceCreate(&preference));
    Set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
    Set<uint32_t>(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                  CUBLASLT_REDUCTION_SCHEME_MASK & ~CUBLASLT_REDUCTION_SCHEME_INPLACE);
    Set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, p.b_alignment);
    Set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, p.a_alignment);
    Set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, p.c_alignment);
    Set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, p.c_alignment);
    cublasLtMatmulHeuristicResult_t choice;
    int found = 0;
    LT_CHECK(cublasLtMatmulAlgoGetHeuristic(handle_, plan.operation, plan.first, plan.second,
                                            plan.result, plan.result, preference, 1, &choice,
                                            &found));
    LT_CHECK(found > 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED);
    cublasLtMatmulPreferenceDestroy(preference);
    plan.algorithm = choice.algo;
    return plan;
  }

  cublasLtHandle_t handle_;
  void* workspace_;
  std::mutex mutex_;
  std::map<Problem, Plan> plans_;
};

}  // namespace

void Gemm(const Stream& stream, const View& a, const View& b, const View& c,
          const GemmOptions& options) {
  const MatrixLayout a_layout = LayoutOf(a), b_layout = LayoutOf(b), c_layout = LayoutOf(c);
  const bool has_bias = options.bias.rank != 0;
  const Problem problem = {TypeOf(a),
                           TypeOf(b),
                           TypeOf(c),
                           has_bias ? TypeOf(options.bias) : CUDA_R_32F,
                           a_layout.transposed,
                           b_layout.transposed,
                           has_bias,
                           options.beta != 0,
                           c.shape[0],
                           c.shape[1],
                           a.shape[1],
                           a_layout.ld,
                           b_layout.ld,
                           c_layout.ld,
                           Alignment(a.data),
                           Alignment(b.data),
                           Alignment(c.data)};
  if (a.dtype != b.dtype) Unsupported("gemm of two types, the second", b);
  if (a.shape[1] == 0 && !has_bias) {  // a sum of nothing
    if (options.beta == 0) {
      LOCKSTEP_CUDA_CHECK(cudaMemset2DAsync(c.data, c_layout.ld * SizeOf(c.dtype), 0,
                                            c.shape[1] * SizeOf(c.dtype), c.shape[0],
                                            Handle(stream)));
    }
    return;
  }
  Library& library = Library::Get();
  const Plan& plan = library.PlanFor(problem);
  cublasLtMatmulDesc_t operation = plan.operation;
  if (has_bias) Set(operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, options.bias.data);
  const float alpha = static_cast<float>(options.alpha), beta = static_cast<float>(options.beta);
  const void* alpha_at = plan.in_double ? static_cast<const void*>(&options.alpha) : &alpha;
  const void* beta_at = plan.in_double ? static_cast<const void*>(&options.beta) : &beta;
  LT_CHECK(cublasLtMatmul(library.handle(), operation, alpha_at, b.data, plan.first, a.data,
                          plan.second, beta_at, c.data, plan.result, c.data, plan.result,
                          &plan.algorithm, library.workspace(), kWorkspaceBytes, Handle(stream)));
}

}  // namespace lockstep::kernels::cuda
