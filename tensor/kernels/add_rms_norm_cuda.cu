#include "tensor/kernels/add_rms_norm.h"
#include "tensor/kernels/device/norm.cuh"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

template <typename T>
struct Arguments {
  const T *residual, *branch, *post_w, *w;
  RmsNormOptions options;
  T *sum, *y;
  float *rstd, *post_rstd;
  int64_t width;
};

// One block a row: reads residual and branch once, writes sum and y once. The row stays in shared
// memory: first the branch (only with a post-norm), then the sum.
template <typename T, int N>
__global__ void AddRmsNormKernel(Arguments<T> a) {
  extern __shared__ __align__(16) char shared[];
  T* row = reinterpret_cast<T*>(shared);
  __shared__ float scratch[32];
  const int64_t start = blockIdx.x * a.width;
  const float eps = static_cast<float>(a.options.eps);
  float post_rstd = 0;
  if (a.post_w != nullptr) {
    float squares = 0;
    for (int64_t c = threadIdx.x * N; c < a.width; c += blockDim.x * N) {
      float v[N];
      Load(a.branch + start + c, v);
      Store(row + c, v);
#pragma unroll
      for (int i = 0; i < N; ++i) squares += v[i] * v[i];
    }
    post_rstd = rsqrtf(BlockSum(squares, scratch) / a.width + eps);
    if (a.post_rstd != nullptr && threadIdx.x == 0) a.post_rstd[blockIdx.x] = post_rstd;
  }
  float squares = 0;
  for (int64_t c = threadIdx.x * N; c < a.width; c += blockDim.x * N) {
    float r[N], b[N];
    Load(a.residual + start + c, r);
    if (a.post_w != nullptr) {
      float v[N], weight[N];
      Load(row + c, v);
      Load(a.post_w + c, weight);
      Scale<T>(v, weight, post_rstd, a.options.form, b);
    } else {
      Load(a.branch + start + c, b);
    }
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float branch = a.post_w != nullptr ? RoundTo<T>(b[i]) : b[i];
      r[i] = RoundTo<T>(r[i] + branch);
      squares += r[i] * r[i];
    }
    Store(row + c, r);
    Store(a.sum + start + c, r);
  }
  const float rstd = rsqrtf(BlockSum(squares, scratch) / a.width + eps);
  if (a.rstd != nullptr && threadIdx.x == 0) a.rstd[blockIdx.x] = rstd;
  for (int64_t c = threadIdx.x * N; c < a.width; c += blockDim.x * N) {
    float v[N], weight[N], out[N];
    Load(row + c, v);
    Load(a.w + c, weight);
    Scale<T>(v, weight, rstd, a.options.form, out);
    Store(a.y + start + c, out);
  }
}

}  // namespace

void AddRmsNorm(const Stream& stream, const View& residual, const View& branch, const View& post_w,
                const View& w, const RmsNormOptions& options, const View& sum, const View& y,
                const View& rstd, const View& post_rstd) {
  const int64_t rows = y.shape[0], width = y.shape[1];
  if (y.numel() == 0) return;
  bool vectors = true;
  for (const View* view : {&residual, &branch, &sum, &y, &w}) {
    vectors = vectors && Vectorizable(*view, width, width);
  }
  if (post_w.data != nullptr) vectors = vectors && Vectorizable(post_w, width, width);
  DispatchType("add_rms_norm", y, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const Arguments<T> arguments = {
        residual.as<T>(), branch.as<T>(),   post_w.as<T>(),        w.as<T>(), options, sum.as<T>(),
        y.as<T>(),        rstd.as<float>(), post_rstd.as<float>(), width};
    const auto launch = [&](auto n) {
      auto* kernel = &AddRmsNormKernel<T, n()>;
      const size_t shared = width * sizeof(T);
      AllowSharedMemory(kernel, shared);
      kernel<<<rows, NormThreads(width, n()), shared, Handle(stream)>>>(arguments);
      LOCKSTEP_CHECK_LAUNCH();
    };
    if (vectors) {
      launch(std::integral_constant<int, kVec<T>>());
    } else {
      launch(std::integral_constant<int, 1>());
    }
  });
}

}  // namespace lockstep::kernels::cuda
