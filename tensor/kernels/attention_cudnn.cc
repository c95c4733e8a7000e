#include "tensor/kernels/attention_cudnn.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <set>
#include <unordered_map>
#include <vector>

#include "base/check.h"
#include "tensor/kernels/attention_calls.h"
#include "tensor/kernels/attention_graph.h"
#include "tensor/kernels/attention_head_sums.h"
#include "tensor/kernels/attention_starts.h"

namespace lockstep::kernels::cuda::cudnn {
namespace {

// Of the scores' gradients that one deterministic backward launch may hold.
constexpr int64_t kScoreBytes = int64_t{2560} << 20;
constexpr int64_t kCompactScoreBytes = int64_t{1024} << 20;
// The total number of rows enters a plan only as the size of its buffers: rounded up to few values.
constexpr int64_t kRowUnit = 2048;

// With the deterministic backward for compute capability 10 (its frontend's checks say 9.18).
constexpr int64_t kFirstForBlackwell = 91801;

int64_t AlignUp(int64_t bytes) { return (bytes + 255) / 256 * 256; }

int64_t StartsBytes(int64_t count) {
  return AlignUp((count + kStartTensors * (count + 1)) * static_cast<int64_t>(sizeof(int32_t)));
}

int64_t RoundRows(int64_t rows) { return (rows + kRowUnit - 1) / kRowUnit * kRowUnit; }

// A call for some of the query heads, and the key heads that they read.
struct Launch {
  AttentionCall call;
  int64_t head, heads, kv_head, kv_heads;
  bool backward;
  bool ragged;     // documents shorter than call.longest, or none, among call.count
  bool ungrouped;  // every query head has a copy of its key head; their dk and dv are added up
  // k and v are copied to rows of their own, and dk and dv from there: cuDNN's backward takes the
  // row stride of k as the width of the fp32 sums that it wants for every query head.
  bool dense;

  int64_t graph_kv_heads() const { return ungrouped ? heads : kv_heads; }
};

bool IsRagged(const AttentionCall& call, const int32_t* starts) {
  bool ragged = call.last - call.first != call.count;
  for (int64_t d = call.first; d < call.last; ++d) {
    ragged = ragged || starts[d + 1] - starts[d] != call.longest;
  }
  return ragged;
}

// All launches of a pack, in order.
std::vector<Launch> PlanLaunches(bool backward, const AttentionShape& shape,
                                 const PackedDocuments& documents,
                                 const AttentionOptions& options) {
  const int64_t group = shape.heads / shape.kv_heads;
  const AttentionHeads all = {shape.heads, shape.kv_heads,
                              options.compact ? kCompactScoreBytes : kScoreBytes, kScoreBytes,
                              options.score_bytes};
  std::vector<Launch> launches;
  for (const AttentionCall& call : PlanAttentionCalls(documents.starts_q, documents.size, all)) {
    const int64_t heads = backward ? call.heads : shape.heads;
    const bool ungrouped = backward && call.ungrouped;
    const bool ragged = IsRagged(call, documents.starts_q);
    for (int64_t head = 0; head < shape.heads; head += heads) {
      launches.push_back({call, head, heads, head / group, std::max<int64_t>(1, heads / group),
                          backward, ragged, ungrouped, backward && (ungrouped || options.compact)});
    }
  }
  return launches;
}

// Elements between the rows of each tensor.
StartStrides StridesOf(const Launch& launch, const AttentionShape& shape, int64_t q_row,
                       int64_t kv_row, int64_t out_row) {
  return {{q_row, launch.dense ? launch.graph_kv_heads() * shape.head_dim : kv_row, out_row,
           shape.heads}};
}

GraphKey KeyOf(const Launch& launch, const AttentionShape& shape, const StartStrides& strides,
               const AttentionOptions& options) {
  const int64_t rows = launch.ragged ? RoundRows(shape.tokens_q) : 0;
  return {launch.backward,         launch.ragged,  launch.call.count,
          launch.call.longest,     rows,           launch.heads,
          launch.graph_kv_heads(), shape.head_dim, strides.row[0],
          strides.row[1],          strides.row[2], strides.row[3],
          options.window,          options.scale};
}

// Where q, k and v are slices of one merged tensor.
GraphKey KeyOfMerged(const Launch& launch, const AttentionShape& shape,
                     const AttentionOptions& options) {
  const int64_t row = (shape.heads + 2 * shape.kv_heads) * shape.head_dim;
  return KeyOf(launch, shape, StridesOf(launch, shape, row, row, shape.heads * shape.head_dim),
               options);
}

// What cuDNN 9.19 wants on Hopper, measured: 2 bytes a score, keys rounded up to a tile; and where
// query heads share a key head, dk and dv of each query head: in bf16, or where documents are
// ragged room for fp32 at the stride of k for each query head of the group.
int64_t KnownGraphWorkspace(const GraphKey& key) {
  if (!key.backward) return int64_t{1} << 20;
  const int64_t group = key.heads / key.kv_heads;
  const int64_t keys = (key.longest + 127) / 128 * 128;
  const int64_t scores = key.count * key.longest * keys * key.heads * 2;
  const int64_t rows = key.ragged ? key.rows : key.count * key.longest;
  const int64_t row = key.ragged ? 2 * group * key.kv_row * 4 : 2 * key.heads * key.dim * 2;
  return AlignUp(scores + rows * ((group > 1 ? row : 0) + 8 * key.heads) + (int64_t{1} << 20));
}

// A launch's workspace: lengths and starts; dense k, v, dk and dv [T, key heads, dim]; the sums of
// ungrouped heads, [T, 2·dim] in fp32; then cuDNN's own.
struct Layout {
  Layout(const Launch& launch, const AttentionShape& shape)
      : dense_bytes(launch.dense
                        ? AlignUp(shape.tokens_q * launch.graph_kv_heads() * shape.head_dim * 2)
                        : 0),
        dense(StartsBytes(launch.call.count)),
        sums(dense + 4 * dense_bytes),
        own(sums + (launch.ungrouped ? AlignUp(shape.tokens_q * 2 * shape.head_dim *
                                               static_cast<int64_t>(sizeof(float)))
                                     : 0)) {}
  const int64_t dense_bytes, dense, sums, own;  // bytes from the start, but for the first
};

// Heads [head, head + count) of x.
View HeadsOf(const View& x, int64_t head, int64_t count) { return x.Slice(1, head, head + count); }

// As x, but contiguous, with `heads` heads.
View Dense(void* data, const View& x, int64_t heads) {
  View view = x;
  view.data = data;
  view.shape[1] = heads;
  view.stride[0] = heads * x.shape[2];
  return view;
}

// Rows behind the last document belong to none: zero.
void ZeroTail(const Stream& stream, const View& x, int64_t rows) {
  if (rows >= x.shape[0]) return;
  const size_t bytes = SizeOf(x.dtype);
  CHECK_EQ(cudaMemset2DAsync(x.Slice(0, rows, x.shape[0]).data, x.stride[0] * bytes, 0,
                             x.shape[1] * x.shape[2] * bytes, x.shape[0] - rows,
                             static_cast<cudaStream_t>(stream.handle)),
           cudaSuccess);
}

// The tensors of a direction.
struct Tensors {
  View q, k, v, out, lse;
  View dout, dq, dk, dv;  // backward alone
};

// Keys that a kernel takes at a time, at most. Those of the last tile that are no document's are
// masked, but of what the workspace holds there NaN would come through the mask: 0 · NaN.
constexpr int64_t kMostKeysOfTile = 256;

// Dense k and v, with zeros behind the last row. What that overwrites, up to `limit`, is not yet in
// use.
void FillDense(const Stream& stream, const Tensors& in, const Tensors& dense, const RowRange& rows,
               const char* limit) {
  for (const View* x : {&dense.k, &dense.v}) {
    const int64_t row = x->stride[0] * static_cast<int64_t>(SizeOf(x->dtype));
    char* const tail = static_cast<char*>(x->data) + rows.end * row;
    const int64_t bytes = std::min<int64_t>(kMostKeysOfTile * row, limit - tail);
    CHECK_EQ(cudaMemsetAsync(tail, 0, bytes, static_cast<cudaStream_t>(stream.handle)),
             cudaSuccess);
  }
  CopyHeads(stream, rows, {in.k, in.v}, {dense.k, dense.v});
}

// Those of a launch's heads.
Tensors HeadsOf(const Tensors& t, const Launch& launch) {
  const auto q = [&](const View& x) { return HeadsOf(x, launch.head, launch.heads); };
  const auto kv = [&](const View& x) { return HeadsOf(x, launch.kv_head, launch.kv_heads); };
  const View lse = t.lse.Slice(1, launch.head, launch.head + launch.heads);
  if (!launch.backward) return {q(t.q), kv(t.k), kv(t.v), q(t.out), lse, {}, {}, {}, {}};
  return {q(t.q), kv(t.k), kv(t.v), q(t.out), lse, q(t.dout), q(t.dq), kv(t.dk), kv(t.dv)};
}

// `lengths` with the starts behind them are those of a ragged graph, whose tensors start at row 0;
// another's start at `first_row`.
void RunGraph(const Stream& stream, const GraphKey& key, const Tensors& t, int32_t* lengths,
              int64_t first_row, void* workspace) {
  const auto at = [&](const View& x) {
    return key.ragged ? x.data : x.Slice(0, first_row, x.shape[0]).data;
  };
  std::unordered_map<int64_t, void*> tensors = {
      {kQ, at(t.q)}, {kK, at(t.k)}, {kV, at(t.v)}, {kOut, at(t.out)}, {kLse, at(t.lse)}};
  if (key.backward) {
    tensors.insert({{kDout, at(t.dout)}, {kDq, at(t.dq)}, {kDk, at(t.dk)}, {kDv, at(t.dv)}});
  }
  if (key.ragged) {
    tensors[kLengths] = lengths;
    int32_t* starts = lengths + key.count;
    for (int i = 0; i < kStartTensors; ++i) tensors[kStarts + i] = starts + i * (key.count + 1);
  }
  ExecuteGraph(stream, key, tensors, workspace);
}

void Run(const Stream& stream, const Launch& launch, const AttentionShape& shape, const Tensors& of,
         const PackedDocuments& documents, const AttentionOptions& options, const View& workspace) {
  const Layout layout(launch, shape);
  char* memory = workspace.as<char>();
  const StartStrides strides =
      StridesOf(launch, shape, of.q.stride[0], of.k.stride[0], of.out.stride[0]);
  const GraphKey key = KeyOf(launch, shape, strides, options);
  CHECK_LE(layout.own + GraphWorkspace(key), workspace.numel())
      << "[attention] cuDNN wants more workspace than planned, " << GraphWorkspace(key)
      << " bytes: " << Describe(key);
  auto* lengths = reinterpret_cast<int32_t*>(memory);
  const AttentionCall& call = launch.call;
  if (launch.ragged) {
    DocumentStarts(stream, documents.cu_seqlens_q, call.first, call.last, call.count, strides,
                   lengths, lengths + call.count);
  }
  const Tensors in = HeadsOf(of, launch);
  const int64_t begin = documents.starts_q[call.first], end = documents.starts_q[call.last];
  if (!launch.dense) return RunGraph(stream, key, in, lengths, begin, memory + layout.own);

  Tensors t = in;
  View* const dense[] = {&t.k, &t.v, &t.dk, &t.dv};
  for (int i = 0; i < 4; ++i) {
    *dense[i] =
        Dense(memory + layout.dense + i * layout.dense_bytes, *dense[i], launch.graph_kv_heads());
  }
  const RowRange rows = {begin, end};
  FillDense(stream, in, t, rows, memory + layout.sums);
  RunGraph(stream, key, t, lengths, begin, memory + layout.own);
  const int64_t group = shape.heads / shape.kv_heads;
  const GroupPart part = {.first = launch.head % group == 0,
                          .last = (launch.head + launch.heads) % group == 0};
  AddHeads(stream, rows, {t.dk, t.dv}, part, reinterpret_cast<float*>(memory + layout.sums),
           {in.dk, in.dv});
}

// One direction over all launches of a pack.
void RunAll(bool backward, const Stream& stream, const Tensors& t, const PackedDocuments& documents,
            const AttentionOptions& options, const View& workspace) {
  const AttentionShape shape = ShapeOf(t.q, t.k);
  for (const Launch& launch : PlanLaunches(backward, shape, documents, options)) {
    Run(stream, launch, shape, t, documents, options, workspace);
  }
}

}  // namespace

bool IsForThisGpu() {
  int device = 0, major = 0;
  CHECK_EQ(cudaGetDevice(&device), cudaSuccess);
  CHECK_EQ(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), cudaSuccess);
  return major == 9 || (major == 10 && CudnnVersion() >= kFirstForBlackwell);
}

absl::string_view Refusal(const AttentionShape& shape, const AttentionOptions& options) {
  if (shape.dtype != DType::kBF16) return "its type is not bf16";
  if (options.softcap != 0) return "its scores have a soft cap";
  if (shape.head_dim > 128) return "its heads are wider than 128";
  if (shape.head_dim % 8 != 0) return "the width of its heads is no multiple of 8";
  const int64_t widest = (shape.heads + 2 * shape.kv_heads) * shape.head_dim;
  if (shape.tokens_q * widest >= int64_t{1} << 31) {
    return "q, k and v of a pack have 2^31 elements or more (--tokens_per_pack)";
  }
  return "";
}

bool Takes(const AttentionShape& shape, const PackedDocuments& documents,
           const AttentionOptions& options) {
  return options.kernels == AttentionKernels::kFastest && Refusal(shape, options).empty() &&
         std::equal(documents.starts_q, documents.starts_q + documents.size + 1,
                    documents.starts_k);
}

void Attention(const Stream& stream, const View& q, const View& k, const View& v,
               const PackedDocuments& documents, const AttentionOptions& options, const View& out,
               const View& lse, const View& workspace) {
  ZeroTail(stream, out, documents.starts_q[documents.size]);
  RunAll(false, stream, {q, k, v, out, lse, {}, {}, {}, {}}, documents, options, workspace);
}

void AttentionBackward(const Stream& stream, const View& dout, const View& q, const View& k,
                       const View& v, const View& out, const View& lse,
                       const PackedDocuments& documents, const AttentionOptions& options,
                       const View& dq, const View& dk, const View& dv, const View& workspace) {
  CHECK(dq.stride[0] == q.stride[0] && v.stride[0] == k.stride[0] && dk.stride[0] == k.stride[0] &&
        dv.stride[0] == k.stride[0] && dout.stride[0] == out.stride[0])
      << "[attention] want gradients strided as their tensors";
  for (const View* x : {&dq, &dk, &dv}) ZeroTail(stream, *x, documents.starts_q[documents.size]);
  RunAll(true, stream, {q, k, v, out, lse, dout, dq, dk, dv}, documents, options, workspace);
}

std::vector<bool> Prepare(Device device, absl::Span<const AttentionProblem> problems,
                          int num_threads, const std::atomic<bool>& stop) {
  std::vector<bool> is_first(problems.size(), false);
  std::set<GraphKey> seen;
  std::vector<GraphKey> keys;
  for (size_t i = 0; i < problems.size(); ++i) {
    const auto& [shape, starts, options, has_backward] = problems[i];
    const PackedDocuments documents = {std::ssize(starts) - 1, starts.data(), starts.data(), View(),
                                       View()};
    if (!Takes(shape, documents, options)) continue;
    for (const bool backward : {true, false}) {  // the longest to build first
      if (backward && !has_backward) continue;
      for (const Launch& launch : PlanLaunches(backward, shape, documents, options)) {
        const GraphKey key = KeyOfMerged(launch, shape, options);
        if (!seen.insert(key).second) continue;
        keys.push_back(key);
        is_first[i] = true;
      }
    }
  }
  BuildGraphs(device, keys, num_threads, stop);
  return is_first;
}

WorkspaceBytes Workspace(const AttentionShape& shape, const PackedDocuments& documents,
                         const AttentionOptions& options, bool ask) {
  WorkspaceBytes bytes;
  for (const bool backward : {false, true}) {
    int64_t& most = backward ? bytes.backward : bytes.forward;
    for (const Launch& launch : PlanLaunches(backward, shape, documents, options)) {
      const GraphKey key = KeyOfMerged(launch, shape, options);
      const int64_t graph = ask ? GraphWorkspace(key) : KnownGraphWorkspace(key);
      most = std::max(most, Layout(launch, shape).own + graph);
    }
  }
  return bytes;
}

}  // namespace lockstep::kernels::cuda::cudnn
