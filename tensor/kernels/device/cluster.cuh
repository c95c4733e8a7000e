// Clusters: up to 8 blocks that run at the same time and write into each other's shared memory
// (sm_90; CUDA Programming Guide, "Thread Block Clusters"). Elsewhere a cluster is one block.
#pragma once

#include <utility>

#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/device/tensor_core.cuh"

namespace lockstep::kernels::device {

// A cluster's blocks where they are `portable`: on every GPU that has clusters.
inline constexpr int kMostBlocksOfCluster = 8;

#if __CUDA_ARCH__ >= 900
__device__ __forceinline__ unsigned ClusterSize() {
  unsigned size;
  asm("mov.u32 %0, %%cluster_nctaid.x;" : "=r"(size));
  return size;
}
// The block's number in its cluster, blockIdx.x % ClusterSize().
__device__ __forceinline__ unsigned ClusterRank() {
  unsigned rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
// A barrier of all threads of the cluster in two halves. What was written before one thread's
// arrival, in any block's shared memory, is seen behind another's wait.
__device__ __forceinline__ void ClusterArrive() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ __forceinline__ void ClusterWait() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
// *to = x in block `rank`'s shared memory, where `to` is the same variable of this block.
__device__ __forceinline__ void StoreToBlock(float* to, unsigned rank, float x) {
  asm volatile(
      "{ .reg .u32 at; mapa.shared::cluster.u32 at, %0, %1; st.shared::cluster.f32 [at], %2; }" ::
          "r"(SharedAddress(to)),
      "r"(rank), "f"(x)
      : "memory");
}
__device__ __forceinline__ void StoreToBlock(double* to, unsigned rank, double x) {
  asm volatile(
      "{ .reg .u32 at; mapa.shared::cluster.u32 at, %0, %1; st.shared::cluster.f64 [at], %2; }" ::
          "r"(SharedAddress(to)),
      "r"(rank), "d"(x)
      : "memory");
}
#else
__device__ __forceinline__ unsigned ClusterSize() { return 1; }
__device__ __forceinline__ unsigned ClusterRank() { return 0; }
__device__ __forceinline__ void ClusterArrive() {}
__device__ __forceinline__ void ClusterWait() { __syncthreads(); }
template <typename T>
__device__ __forceinline__ void StoreToBlock(T* to, unsigned rank, T x) {
  *to = x;
}
#endif

// Whether the kernel runs in clusters of more than one block: the code of it that the current
// device runs is that for sm_90 or newer, which is not said by the device, as it takes PTX of any.
template <typename... Parameters>
bool TakesClusters(void (*kernel)(Parameters...)) {
  cudaFuncAttributes attributes;
  LOCKSTEP_CUDA_CHECK(cudaFuncGetAttributes(&attributes, kernel));
  return attributes.ptxVersion >= 90;
}

// kernel<<<blocks, threads, shared>>>(arguments…) in clusters of `size` neighboring blocks, of
// which `blocks` is a multiple.
template <typename... Parameters, typename... Arguments>
void LaunchClusters(void (*kernel)(Parameters...), unsigned size, unsigned blocks, unsigned threads,
                    size_t shared, const Stream& stream, Arguments&&... arguments) {
  cudaLaunchAttribute cluster = {};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim.x = size;
  cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(blocks);
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared;
  config.stream = Handle(stream);
  config.attrs = &cluster;
  config.numAttrs = size > 1 ? 1 : 0;
  LOCKSTEP_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...));
}

}  // namespace lockstep::kernels::device
