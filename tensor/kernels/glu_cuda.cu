#include "tensor/kernels/device/activation.cuh"
#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/glu.h"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

// blockIdx.x is the row, a thread N of its F columns. Reads 2·N, writes N elements.
template <typename T, int N, GluActivation kActivation>
__global__ void GluKernel(const T* __restrict__ x, T* __restrict__ y, int64_t width) {
  WaitForPredecessors();
  const int64_t column = (static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x) * N;
  if (column >= width) return;
  const int64_t row = blockIdx.x;
  float gate[N], up[N], out[N];
  Load(x + row * 2 * width + column, gate);
  Load(x + row * 2 * width + width + column, up);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    float act, slope;
    Activation<kActivation>::Eval(gate[i], act, slope);
    out[i] = act * up[i];
  }
  Store(y + row * width + column, out);
}

// Reads 3·N, writes 2·N elements; x and dx may be the same memory.
template <typename T, int N, GluActivation kActivation>
__global__ void GluBackwardKernel(const T* __restrict__ dy, const T* x, T* dx, int64_t width) {
  WaitForPredecessors();
  const int64_t column = (static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x) * N;
  if (column >= width) return;
  const int64_t row = blockIdx.x;
  float gate[N], up[N], d[N], dgate[N], dup[N];
  Load(x + row * 2 * width + column, gate);
  Load(x + row * 2 * width + width + column, up);
  Load(dy + row * width + column, d);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    float act, slope;
    Activation<kActivation>::Eval(gate[i], act, slope);
    dgate[i] = d[i] * up[i] * slope;
    dup[i] = d[i] * act;
  }
  Store(dx + row * 2 * width + column, dgate);
  Store(dx + row * 2 * width + width + column, dup);
}

// Calls body with the type, elements a thread, and activation as compile-time values.
template <typename Body>
void Dispatch(const char* op, const View& y, bool vectors, GluActivation activation,
              const Body& body) {
  DispatchType(op, y, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    DispatchVectors<T>(vectors, [&](auto n) {
      DispatchActivation(activation, [&](auto act) { body(type, n, act); });
    });
  });
}

dim3 Grid(int64_t rows, int64_t width, int n) {
  return dim3(static_cast<unsigned>(rows), Blocks(width, 256 * n));
}

}  // namespace

void Glu(const Stream& stream, const View& x, GluActivation activation, const View& y) {
  const int64_t rows = y.shape[0], width = y.shape[1];
  if (y.numel() == 0) return;
  const bool vectors = Vectorizable(x, width, width) && Vectorizable(y, width, width);
  Dispatch("glu", y, vectors, activation, [&](auto* type, auto n, auto act) {
    using T = std::remove_pointer_t<decltype(type)>;
    StartKernel(GluKernel<T, n(), act()>, {Grid(rows, width, n()), 256}, stream, x.as<T>(),
                y.as<T>(), width);
  });
}

void GluBackward(const Stream& stream, const View& dy, const View& x, GluActivation activation,
                 const View& dx) {
  const int64_t rows = dy.shape[0], width = dy.shape[1];
  if (dy.numel() == 0) return;
  const bool vectors = Vectorizable(x, width, width) && Vectorizable(dy, width, width) &&
                       Vectorizable(dx, width, width);
  Dispatch("glu", dy, vectors, activation, [&](auto* type, auto n, auto act) {
    using T = std::remove_pointer_t<decltype(type)>;
    StartKernel(GluBackwardKernel<T, n(), act()>, {Grid(rows, width, n()), 256}, stream, dy.as<T>(),
                x.as<T>(), dx.as<T>(), width);
  });
}

}  // namespace lockstep::kernels::cuda
