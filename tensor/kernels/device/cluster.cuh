// Clusters: up to 8 blocks that run at the same time and write into each other's shared memory
// (sm_90; CUDA Programming Guide, "Thread Block Clusters"). Elsewhere a cluster is one block.
#pragma once

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
#else
__device__ __forceinline__ unsigned ClusterSize() { return 1; }
__device__ __forceinline__ unsigned ClusterRank() { return 0; }
__device__ __forceinline__ void ClusterArrive() {}
__device__ __forceinline__ void ClusterWait() { __syncthreads(); }
__device__ __forceinline__ void StoreToBlock(float* to, unsigned, float x) { *to = x; }
#endif

// Whether the kernel runs in clusters of more than one block.
template <typename... Parameters>
bool TakesClusters(void (*kernel)(Parameters...)) {
  return RunsSm90Code(reinterpret_cast<const void*>(kernel));
}

// How many of its clusters run at the same time.
template <typename... Parameters>
int ClustersAtOnce(void (*kernel)(Parameters...), const LaunchSize& size) {
  return KernelLaunch(reinterpret_cast<const void*>(kernel), size, {}).ClustersAtOnce();
}

}  // namespace lockstep::kernels::device
