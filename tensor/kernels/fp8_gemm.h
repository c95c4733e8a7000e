// Fp8Gemm: C[m, n] = a.scales[m] · b.scales[n] · Σ_k a.codes[m, k] · b.codes[n, k]
//                    + beta · C[m, n] + bias[n]
//
//   a      [M, K]  e4m3 with a scale a row (quantize.h): activations, a token a row
//   b      [N, K]  the same: a frozen weight as it lies in memory, an output a row
//   C      [M, N]  rows of neighbors; read only if beta ≠ 0; f32 on a CPU, bf16 on CUDA
//   bias   [N]     optional (rank 0), contiguous, of C's type
// K and N are multiples of 16. Codes are contiguous.
//
// Sums over K in f32: on a CPU of scaled rows, each element rounded to f32 once; on CUDA of exact
// products of codes, in cuBLASLt's slower way (no "fast accumulation"), which lets sums leave the
// tensor cores' narrower registers every so often.
#pragma once

#include "tensor/kernels/quantize.h"
#include "tensor/view.h"

namespace lockstep::kernels {

struct Fp8GemmOptions {
  double beta = 0;
  View bias = {};
};

void Fp8Gemm(const Stream& stream, const ScaledRows& a, const ScaledRows& b, const View& c,
             const Fp8GemmOptions& options = {});

// Whether the device computes it: CPUs do, and GPUs of compute capability 9.0.
bool HasFp8Gemm(Device device);

namespace cpu {
void Fp8Gemm(const Stream& stream, const ScaledRows& a, const ScaledRows& b, const View& c,
             const Fp8GemmOptions& options);
}
namespace cuda {
void Fp8Gemm(const Stream& stream, const ScaledRows& a, const ScaledRows& b, const View& c,
             const Fp8GemmOptions& options);
bool HasFp8Gemm(Device device);
}  // namespace cuda

}  // namespace lockstep::kernels
