#include "tensor/machine_code.h"

namespace lockstep::cuda {
namespace {

__global__ void Nothing() {}

}  // namespace

cudaError_t TryMachineCode() {
  cudaFuncAttributes attributes;
  const cudaError_t error = cudaFuncGetAttributes(&attributes, Nothing);
  cudaGetLastError();  // it is reported by the caller
  return error;
}

}  // namespace lockstep::cuda
