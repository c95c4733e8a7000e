#include "tensor/kernels/attention_head_sums.h"
#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/device/vec.cuh"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

constexpr int kPiece = kVec<bf16>;
constexpr int kThreads = 256;
using Piece = Vec<bf16, kPiece>;

// [T, heads, dim], in elements.
struct Heads {
  bf16 *k, *v;
  int64_t row;
};

Heads On(const KeyPair& x) {
  return {static_cast<bf16*>(x.k.data), static_cast<bf16*>(x.v.data), x.k.stride[0]};
}

// A thread has some columns of one row and key head: of k, or of v.
struct Place {
  int64_t row, head, column;
  bool is_k;
};

struct Work {
  int64_t begin, size;  // rows, threads
  int64_t heads, dim;   // of the key
};

__device__ bool PlaceOf(const Work& work, Place* place) {
  int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (i >= work.size) return false;
  const int64_t pieces = work.dim / kPiece;
  place->column = i % pieces * kPiece, i /= pieces;
  place->head = i % work.heads, i /= work.heads;
  place->is_k = i % 2 == 0;
  place->row = work.begin + i / 2;
  return true;
}

__global__ void CopyHeadsKernel(Work work, int copies, Heads from, Heads to) {
  WaitForPredecessors();
  Place p;
  if (!PlaceOf(work, &p)) return;
  const bf16* source = (p.is_k ? from.k : from.v) + p.row * from.row + p.head * work.dim + p.column;
  bf16* target = (p.is_k ? to.k : to.v) + p.row * to.row + p.head * copies * work.dim + p.column;
  const Piece piece = *reinterpret_cast<const Piece*>(source);
  for (int c = 0; c < copies; ++c) *reinterpret_cast<Piece*>(target + c * work.dim) = piece;
}

__global__ void AddHeadsKernel(Work work, int copies, Heads gradients, GroupPart part,
                               float* __restrict__ sums, Heads out) {
  WaitForPredecessors();
  Place p;
  if (!PlaceOf(work, &p)) return;
  const bf16* source = (p.is_k ? gradients.k : gradients.v) + p.row * gradients.row +
                       p.head * copies * work.dim + p.column;
  float* sum = sums + (p.row * 2 + (p.is_k ? 0 : 1)) * work.dim + p.column;
  float total[kPiece];
  for (int i = 0; i < kPiece; ++i) total[i] = part.first ? -0.0f : sum[i];  // −0 + x is x
  for (int c = 0; c < copies; ++c) {
    const Piece piece = *reinterpret_cast<const Piece*>(source + c * work.dim);
    for (int i = 0; i < kPiece; ++i) total[i] += ToFloat(piece.v[i]);
  }
  if (part.last) {
    Piece rounded;
    for (int i = 0; i < kPiece; ++i) rounded.v[i] = FromFloat<bf16>(total[i]);
    bf16* target = (p.is_k ? out.k : out.v) + p.row * out.row + p.head * work.dim + p.column;
    *reinterpret_cast<Piece*>(target) = rounded;
  } else {
    for (int i = 0; i < kPiece; ++i) sum[i] = total[i];
  }
}

unsigned Blocks(const Work& work) {
  return static_cast<unsigned>((work.size + kThreads - 1) / kThreads);
}

Work WorkOf(const RowRange& rows, const View& key) {
  const int64_t heads = key.shape[1], dim = key.shape[2];
  return {rows.begin, (rows.end - rows.begin) * 2 * heads * (dim / kPiece), heads, dim};
}

}  // namespace

void CopyHeads(const Stream& stream, const RowRange& rows, const KeyPair& from, const KeyPair& to) {
  const Work work = WorkOf(rows, from.k);
  if (work.size == 0) return;
  const int copies = static_cast<int>(to.k.shape[1] / from.k.shape[1]);
  StartKernel(CopyHeadsKernel, {Blocks(work), kThreads}, stream, work, copies, On(from), On(to));
}

void AddHeads(const Stream& stream, const RowRange& rows, const KeyPair& gradients,
              const GroupPart& part, float* sums, const KeyPair& out) {
  const Work work = WorkOf(rows, out.k);
  if (work.size == 0) return;
  const int copies = static_cast<int>(gradients.k.shape[1] / out.k.shape[1]);
  StartKernel(AddHeadsKernel, {Blocks(work), kThreads}, stream, work, copies, On(gradients), part,
              sums, On(out));
}

}  // namespace lockstep::kernels::cuda
