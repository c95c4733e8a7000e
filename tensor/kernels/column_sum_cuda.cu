#include "tensor/kernels/column_sum.h"
#include "tensor/kernels/device/cluster.cuh"
#include "tensor/kernels/device/launch.cuh"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

constexpr int kThreads = 256, kLanes = 8, kTeams = kThreads / kLanes;

// A cluster takes kLanes · N columns, a block of it a range of the rows, a team of kLanes threads
// every kTeams-th of these. Then teams are added in order, and blocks in order, by the first block.
template <typename T, typename Y, int N>
__global__ void __launch_bounds__(kThreads)
    ColumnSumKernel(const T* __restrict__ x, int64_t row_stride, int64_t rows, int64_t columns,
                    bool accumulate, Y* __restrict__ y) {
  WaitForPredecessors();
  constexpr int kColumns = kLanes * N;
  __shared__ float teams[kTeams][kColumns], blocks[kMostBlocksOfCluster][kColumns];
  ClusterArrive();
  const int parts = ClusterSize(), rank = ClusterRank();
  const int lane = threadIdx.x % kLanes, team = threadIdx.x / kLanes;
  const int64_t first = static_cast<int64_t>(blockIdx.x) / parts * kColumns;
  const int64_t column = first + lane * N, end = rows * (rank + 1) / parts;
  float sum[N] = {};
  if (column < columns) {
#pragma unroll 4
    for (int64_t row = rows * rank / parts + team; row < end; row += kTeams) {
      float v[N];
      Load(x + row * row_stride + column, v);
#pragma unroll
      for (int i = 0; i < N; ++i) sum[i] += v[i];
    }
  }
#pragma unroll
  for (int i = 0; i < N; ++i) teams[team][lane * N + i] = sum[i];
  ClusterWait();  // all blocks have begun
  __syncthreads();
  const int mine = threadIdx.x;
  if (mine < kColumns) {
    float total = 0;
    for (int t = 0; t < kTeams; ++t) total += teams[t][mine];
    StoreToBlock(&blocks[rank][mine], 0, total);
  }
  ClusterArrive();
  ClusterWait();
  if (rank != 0 || mine >= kColumns || first + mine >= columns) return;
  float total = accumulate ? ToFloat(y[first + mine]) : 0.0f;
  for (int p = 0; p < parts; ++p) total += blocks[p][mine];
  y[first + mine] = FromFloat<Y>(total);
}

}  // namespace

void ColumnSum(const Stream& stream, const View& x, bool accumulate, const View& y) {
  if (y.numel() == 0) return;
  const int64_t rows = x.shape[0], columns = x.shape[1];
  DispatchType("column_sum", x, [&](auto* from) {
    DispatchType("column_sum", y, [&](auto* to) {
      using T = std::remove_pointer_t<decltype(from)>;
      using Y = std::remove_pointer_t<decltype(to)>;
      DispatchVectors<T>(Vectorizable(x, columns, x.stride[0]), [&](auto n) {
        auto* const kernel = &ColumnSumKernel<T, Y, n()>;
        const unsigned parts = TakesClusters(kernel) ? kMostBlocksOfCluster : 1;
        StartKernel(kernel, {Blocks(columns, kLanes * n()) * parts, kThreads, 0, parts}, stream,
                    x.as<T>(), x.stride[0], rows, columns, accumulate, y.as<Y>());
      });
    });
  });
}

}  // namespace lockstep::kernels::cuda
