// What comes into shared memory while threads do something else, and barriers that count its bytes:
// bulk copies from global memory, and messages from blocks of the same cluster (sm_90; PTX ISA:
// mbarrier, cp.async.bulk, st.async, proxies). Kernels that use them have nothing for older GPUs.
#pragma once

#include <cstdint>

#include "tensor/kernels/device/tensor_core.cuh"

namespace lockstep::kernels::device {

// In shared memory. Phase k ends when what the k-th Expect named has arrived.
struct ByteBarrier {
  uint64_t state;

#if __CUDA_ARCH__ >= 900
  // By one thread; the cluster's others see it behind the cluster's next barrier.
  __device__ __forceinline__ void Init() {
    asm volatile(
        "mbarrier.init.shared::cta.b64 [%0], 1; fence.mbarrier_init.release.cluster;" ::"r"(
            SharedAddress(&state))
        : "memory");
  }
  // By one thread, for each phase in turn.
  __device__ __forceinline__ void Expect(uint32_t bytes) {
    asm volatile(
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(SharedAddress(&state)),
        "r"(bytes)
        : "memory");
  }
  // Until `phase` has ended. It is the current one or the one before it.
  __device__ __forceinline__ void Wait(unsigned phase) {
    uint32_t ended;
    do {
      asm volatile(
          "{ .reg .pred ended; "
          "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 ended, [%1], %2; "
          "selp.u32 %0, 1, 0, ended; }"
          : "=r"(ended)
          : "r"(SharedAddress(&state)), "r"(phase % 2)
          : "memory");
    } while (ended == 0);
  }
#endif
};

#if __CUDA_ARCH__ >= 900
// `bytes`, a multiple of 16, as both addresses are.
__device__ __forceinline__ void CopyBulk(void* to, const void* from, uint32_t bytes,
                                         ByteBarrier* barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(SharedAddress(to)),
      "l"(from), "r"(bytes), "r"(SharedAddress(&barrier->state))
      : "memory");
}

// By each thread that has read shared memory, before a barrier behind which a bulk copy goes there:
// PTX's memory model has bulk copies in a proxy of their own, which barriers alone do not order.
__device__ __forceinline__ void FenceBulkCopies() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// *to = x in block `rank`'s shared memory, 8 bytes for its barrier; both are named by this block's
// variables. The block may be this one, but the cluster must have two at least.
__device__ __forceinline__ void SendToBlock(float2* to, unsigned rank, float2 x,
                                            ByteBarrier* barrier) {
  asm volatile(
      "{ .reg .u32 at, barrier; mapa.shared::cluster.u32 at, %0, %2; "
      "mapa.shared::cluster.u32 barrier, %1, %2; "
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [at], {%3, %4}, [barrier]; }" ::
          "r"(SharedAddress(to)),
      "r"(SharedAddress(&barrier->state)), "r"(rank), "f"(x.x), "f"(x.y)
      : "memory");
}
#endif

}  // namespace lockstep::kernels::device
