// One fused attention kernel of cuDNN, forward or deterministic backward, as a graph that is built
// by BuildGraphs, or on first use, and kept. For attention_cudnn.cc alone. What cuDNN refuses is
// fatal: it follows from its version, the GPU and the key, so from nothing that ranks may differ
// in.
//
// Tensors are [count, heads, longest, dim] in bf16, the rows of documents end to end. Ragged:
// document d starts at its ragged offset in each tensor (attention_starts.h). Otherwise every
// document has `longest` rows, which is faster and gives the same bits.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <tuple>
#include <unordered_map>

#include "absl/types/span.h"
#include "tensor/device.h"

namespace lockstep::kernels::cuda::cudnn {

// What a graph depends on. Rows are in elements: the distance between rows of q and dq; of k, v, dk
// and dv; of out and dout; of lse.
struct GraphKey {
  bool backward, ragged;
  // `rows`: of the whole pack, at least; what ragged buffers are made for, 0 for others.
  int64_t count, longest, rows, heads, kv_heads, dim, q_row, kv_row, out_row, lse_row, window;
  double scale;
  auto Tie() const {
    return std::tie(backward, ragged, count, longest, rows, heads, kv_heads, dim, q_row, kv_row,
                    out_row, lse_row, window, scale);
  }
  friend bool operator<(const GraphKey& a, const GraphKey& b) { return a.Tie() < b.Tie(); }
};

// As 91900: of cuDNN 9.19.0, that of this machine.
int64_t CudnnVersion();

// "the backward of 3 documents of 128 rows, 8 heads and 2 of keys, 64 wide".
std::string Describe(const GraphKey& key);

// Names of a graph's tensors. kLengths, kStarts and those behind it, one for each kind of row, are
// of ragged graphs alone.
enum Uid : int64_t { kQ = 1, kK, kV, kOut, kLse, kDout, kDq, kDk, kDv, kLengths, kStarts };

// Builds those that are not there yet, in at most `num_threads` threads, until `stop` is set.
void BuildGraphs(Device device, absl::Span<const GraphKey> keys, int num_threads,
                 const std::atomic<bool>& stop);
// Those that this process has built.
int64_t NumGraphs();

// Bytes of workspace that cuDNN wants.
int64_t GraphWorkspace(const GraphKey& key);

// `tensors`: memory by Uid.
void ExecuteGraph(const Stream& stream, const GraphKey& key,
                  std::unordered_map<int64_t, void*>& tensors, void* workspace);

}  // namespace lockstep::kernels::cuda::cudnn
