#include "tensor/kernels/attention_cudnn.h"

#include <cuda_runtime_api.h>
#include <cudnn.h>
#include <cudnn_frontend.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "base/check.h"
#include "tensor/kernels/attention_calls.h"
#include "tensor/kernels/attention_head_sums.h"
#include "tensor/kernels/attention_starts.h"

namespace lockstep::kernels::cuda::cudnn {
namespace {

namespace fe = cudnn_frontend;
using fe::graph::Tensor_attributes;
using TensorPtr = std::shared_ptr<Tensor_attributes>;

// Of the scores' gradients that one deterministic backward call may hold.
constexpr int64_t kScoreBytes = int64_t{2560} << 20;
// The total number of rows enters a plan only as the size of its buffers: rounded up to few values.
constexpr int64_t kRowUnit = 2048;

int64_t AlignUp(int64_t bytes) { return (bytes + 255) / 256 * 256; }

#define FE_CHECK(call)                                                                 \
  do {                                                                                 \
    fe::error_t error = (call);                                                        \
    CHECK(error.is_good()) << "[attention] cuDNN: " #call ": " << error.get_message(); \
  } while (false)

// What a plan depends on.
struct Key {
  bool backward;
  int64_t count, longest, rows, heads, kv_heads, dim, q_row, kv_row, out_row, lse_row, window;
  double scale;
  auto Tie() const {
    return std::tie(backward, count, longest, rows, heads, kv_heads, dim, q_row, kv_row, out_row,
                    lse_row, window, scale);
  }
  friend bool operator<(const Key& a, const Key& b) { return a.Tie() < b.Tie(); }
};

enum Uid : int64_t { kQ = 1, kK, kV, kOut, kLse, kDout, kDq, kDk, kDv, kLengths, kStarts };

struct Plan {
  std::shared_ptr<fe::graph::Graph> graph;
  int64_t workspace = 0;
};

// The tensors of a graph: dims [count, heads, longest, dim], rows of documents end to end.
class Builder {
 public:
  explicit Builder(const Key& key) : key_(key), graph_(std::make_shared<fe::graph::Graph>()) {
    graph_->set_io_data_type(fe::DataType_t::BFLOAT16)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    lengths_ = graph_->tensor(Tensor_attributes()
                                  .set_uid(kLengths)
                                  .set_dim({key.count, 1, 1, 1})
                                  .set_stride({1, 1, 1, 1})
                                  .set_data_type(fe::DataType_t::INT32));
    for (int t = 0; t < kStartTensors; ++t) {
      starts_[t] = graph_->tensor(Tensor_attributes()
                                      .set_uid(kStarts + t)
                                      .set_dim({key.count + 1, 1, 1, 1})
                                      .set_stride({1, 1, 1, 1})
                                      .set_data_type(fe::DataType_t::INT32));
    }
  }

  Plan BuildForward(cudnnHandle_t handle) {
    const TensorPtr q = Input(kQ), k = Input(kK), v = Input(kV);
    auto options = fe::graph::SDPA_attributes().set_generate_stats(true).set_attn_scale(
        static_cast<float>(key_.scale));
    Mask(options);
    auto [out, lse] = graph_->sdpa(q, k, v, options);
    out->set_output(true);
    Shape(*out, kOut);
    lse->set_output(true);
    ShapeLse(*lse);
    return Finish(handle);
  }

  Plan BuildBackward(cudnnHandle_t handle) {
    const TensorPtr q = Input(kQ), k = Input(kK), v = Input(kV), out = Input(kOut);
    const TensorPtr dout = Input(kDout);
    Tensor_attributes lse_attributes;
    ShapeLse(lse_attributes);
    const TensorPtr lse = graph_->tensor(lse_attributes);
    auto options = fe::graph::SDPA_backward_attributes()
                       .set_attn_scale(static_cast<float>(key_.scale))
                       .set_deterministic_algorithm(true)
                       .set_max_total_seq_len_q(key_.rows)
                       .set_max_total_seq_len_kv(key_.rows);
    Mask(options);
    auto [dq, dk, dv] = graph_->sdpa_backward(q, k, v, out, dout, lse, options);
    dq->set_output(true);
    dk->set_output(true);
    dv->set_output(true);
    Shape(*dq, kDq);
    Shape(*dk, kDk);
    Shape(*dv, kDv);
    return Finish(handle);
  }

 private:
  template <typename Options>
  void Mask(Options& options) {
    options.set_padding_mask(true)
        .set_seq_len_q(lengths_)
        .set_seq_len_kv(lengths_)
        .set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT)
        .set_diagonal_band_right_bound(0);
    if (key_.window > 0) options.set_diagonal_band_left_bound(static_cast<int>(key_.window));
  }

  // cuDNN takes the gradients' strides to be those of q, k and v.
  void Shape(Tensor_attributes& tensor, Uid uid) {
    const bool kv = uid == kK || uid == kV || uid == kDk || uid == kDv;
    const bool out = uid == kOut || uid == kDout;
    const int64_t row = out ? key_.out_row : kv ? key_.kv_row : key_.q_row;
    tensor.set_uid(uid)
        .set_dim({key_.count, kv ? key_.kv_heads : key_.heads, key_.longest, key_.dim})
        .set_stride({row * key_.longest, key_.dim, row, 1})
        .set_data_type(fe::DataType_t::BFLOAT16)
        .set_ragged_offset(starts_[out  ? 2
                                   : kv ? 1
                                        : 0]);
  }

  void ShapeLse(Tensor_attributes& tensor) {
    tensor.set_uid(kLse)
        .set_dim({key_.count, key_.heads, key_.longest, 1})
        .set_stride({key_.lse_row * key_.longest, 1, key_.lse_row, 1})
        .set_data_type(fe::DataType_t::FLOAT)
        .set_ragged_offset(starts_[3]);
  }

  TensorPtr Input(Uid uid) {
    Tensor_attributes attributes;
    Shape(attributes, uid);
    return graph_->tensor(attributes);
  }

  Plan Finish(cudnnHandle_t handle) {
    FE_CHECK(graph_->validate());
    FE_CHECK(graph_->build_operation_graph(handle));
    FE_CHECK(graph_->create_execution_plans({fe::HeurMode_t::A}));
    FE_CHECK(graph_->check_support(handle));
    FE_CHECK(graph_->build_plans(handle));
    Plan plan = {graph_, 0};
    FE_CHECK(graph_->get_workspace_size(plan.workspace));
    return plan;
  }

  const Key& key_;
  std::shared_ptr<fe::graph::Graph> graph_;
  TensorPtr lengths_, starts_[kStartTensors];
};

// One GPU a process: one handle, plans by key.
class Library {
 public:
  static Library& Get() {
    static Library* library = new Library;
    return *library;
  }

  const Plan& PlanFor(const Key& key) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = plans_.find(key);
    if (found == plans_.end()) {
      Builder builder(key);
      found = plans_
                  .emplace(key, key.backward ? builder.BuildBackward(handle_)
                                             : builder.BuildForward(handle_))
                  .first;
    }
    return found->second;
  }

  cudnnHandle_t HandleOn(const Stream& stream) {
    CHECK_EQ(cudnnSetStream(handle_, static_cast<cudaStream_t>(stream.handle)),
             CUDNN_STATUS_SUCCESS);
    return handle_;
  }

 private:
  Library() { CHECK_EQ(cudnnCreate(&handle_), CUDNN_STATUS_SUCCESS) << "[attention] no cuDNN"; }
  cudnnHandle_t handle_;
  std::mutex mutex_;
  std::map<Key, Plan> plans_;
};

int64_t StartsBytes(int64_t count) {
  return AlignUp((count + kStartTensors * (count + 1)) * static_cast<int64_t>(sizeof(int32_t)));
}

// Key heads of a launch for so many query heads.
int64_t KvHeads(const AttentionShape& shape, int64_t heads) {
  return std::max<int64_t>(1, heads * shape.kv_heads / shape.heads);
}

int64_t RoundRows(int64_t rows) { return (rows + kRowUnit - 1) / kRowUnit * kRowUnit; }

// What cuDNN 9.19 wants on Hopper, measured: 2 bytes a score, keys rounded up to a tile; and where
// query heads share a key head, dk and dv of each query head in fp32, for which it takes the row
// stride of k as their width.
int64_t PlanBytes(bool backward, const AttentionCall& call, const AttentionShape& shape,
                  int64_t heads) {
  if (!backward) return int64_t{1} << 20;
  const int64_t group = std::min(heads, shape.heads / shape.kv_heads);
  const int64_t kv_row = (shape.heads + 2 * shape.kv_heads) * shape.head_dim;  // of merged q, k, v
  const int64_t keys = (call.longest + 127) / 128 * 128;
  const int64_t scores = call.count * call.longest * keys * heads * 2;
  const int64_t row = (group > 1 ? 2 * group * kv_row : 0) * int64_t{sizeof(float)} + 8 * heads;
  return AlignUp(scores + RoundRows(shape.tokens_q) * row + (int64_t{1} << 20));
}

// dk and dv of one query head, strided as k, and the sums over the heads of a group: [T, 2·dim].
int64_t HeadBytes(const AttentionShape& shape, int64_t kv_row) {
  return AlignUp(shape.tokens_q * kv_row * 2);
}
int64_t HeadSumsBytes(const AttentionShape& shape) {
  return AlignUp(shape.tokens_q * 2 * shape.head_dim * static_cast<int64_t>(sizeof(float)));
}

// Calls `run(call, heads, first head)` for all launches of the pack.
template <typename Run>
void ForEachCall(bool backward, const AttentionShape& shape, const PackedDocuments& documents,
                 const Run& run) {
  const AttentionHeads all = {shape.heads, shape.kv_heads, kScoreBytes};
  for (const AttentionCall& call : PlanAttentionCalls(documents.starts_q, documents.size, all)) {
    const int64_t heads = backward ? call.heads : shape.heads;
    for (int64_t first = 0; first < shape.heads; first += heads) run(call, heads, first);
  }
}

void* AtHead(const View& x, int64_t head) { return x.Slice(1, head, x.shape[1]).data; }

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

// One direction over all calls of a pack. The workspace holds lengths and starts, dk and dv of a
// query head and their sums where heads are launched singly, then cuDNN's own.
void Execute(bool backward, const Stream& stream, const Tensors& t,
             const PackedDocuments& documents, const AttentionOptions& options,
             const View& workspace) {
  const AttentionShape shape = {t.q.shape[0], t.q.shape[1], t.k.shape[1], t.q.shape[2], t.q.dtype};
  const int64_t group = shape.heads / shape.kv_heads;
  const StartStrides strides = {{t.q.stride[0], t.k.stride[0], t.out.stride[0], shape.heads}};
  ForEachCall(
      backward, shape, documents, [&](const AttentionCall& call, int64_t heads, int64_t head) {
        const Key key = {backward,       call.count,
                         call.longest,   RoundRows(shape.tokens_q),
                         heads,          KvHeads(shape, heads),
                         shape.head_dim, strides.row[0],
                         strides.row[1], strides.row[2],
                         strides.row[3], options.window,
                         options.scale};
        const Plan& plan = Library::Get().PlanFor(key);
        int32_t* lengths = workspace.as<int32_t>();
        int32_t* starts = lengths + call.count;
        char* own = workspace.as<char>() + StartsBytes(call.count);
        const bool singly = backward && heads < group;
        View dk = t.dk, dv = t.dv;
        float* sums = nullptr;
        if (singly) {  // one key head's dk and dv side by side in rows that are strided as k's
          dk.data = own;
          dv.data = own + shape.head_dim * static_cast<int64_t>(SizeOf(t.dv.dtype));
          sums = reinterpret_cast<float*>(own + HeadBytes(shape, strides.row[1]));
          own += HeadBytes(shape, strides.row[1]) + HeadSumsBytes(shape);
        }
        CHECK_LE(own - workspace.as<char>() + plan.workspace, workspace.numel())
            << "[attention] cuDNN wants more workspace than planned, " << plan.workspace
            << " bytes: " << call.count << " documents of " << call.longest << " rows, " << heads
            << " heads of " << shape.head_dim;
        DocumentStarts(stream, documents.cu_seqlens_q, call.first, call.last, call.count, strides,
                       lengths, starts);
        const int64_t kv_head = head / group;
        std::unordered_map<int64_t, void*> tensors = {
            {kQ, AtHead(t.q, head)},          {kK, AtHead(t.k, kv_head)},
            {kV, AtHead(t.v, kv_head)},       {kOut, AtHead(t.out, head)},
            {kLse, t.lse.as<float>() + head}, {kLengths, lengths}};
        for (int i = 0; i < kStartTensors; ++i)
          tensors[kStarts + i] = starts + i * (call.count + 1);
        if (backward) {
          tensors.insert({{kDout, AtHead(t.dout, head)},
                          {kDq, AtHead(t.dq, head)},
                          {kDk, singly ? dk.data : AtHead(t.dk, kv_head)},
                          {kDv, singly ? dv.data : AtHead(t.dv, kv_head)}});
        }
        FE_CHECK(plan.graph->execute(Library::Get().HandleOn(stream), tensors, own));
        if (singly) {
          AddHead(stream, {documents.starts_q[call.first], documents.starts_q[call.last]},
                  {dk.data, dv.data, strides.row[1], shape.head_dim},
                  {head % group == 0, head % group == group - 1}, sums, AtHead(t.dk, kv_head),
                  AtHead(t.dv, kv_head));
        }
      });
}

}  // namespace

bool Takes(const AttentionShape& shape, const PackedDocuments& documents,
           const AttentionOptions& options) {
  const int64_t widest = (shape.heads + 2 * shape.kv_heads) * shape.head_dim;
  return shape.dtype == DType::kBF16 && options.softcap == 0 && shape.head_dim % 8 == 0 &&
         shape.head_dim <= 128 && shape.tokens_q * widest < (int64_t{1} << 31) &&
         std::equal(documents.starts_q, documents.starts_q + documents.size + 1,
                    documents.starts_k);
}

void Attention(const Stream& stream, const View& q, const View& k, const View& v,
               const PackedDocuments& documents, const AttentionOptions& options, const View& out,
               const View& lse, const View& workspace) {
  ZeroTail(stream, out, documents.starts_q[documents.size]);
  Execute(false, stream, {q, k, v, out, lse, {}, {}, {}, {}}, documents, options, workspace);
}

void AttentionBackward(const Stream& stream, const View& dout, const View& q, const View& k,
                       const View& v, const View& out, const View& lse,
                       const PackedDocuments& documents, const AttentionOptions& options,
                       const View& dq, const View& dk, const View& dv, const View& workspace) {
  CHECK(dq.stride[0] == q.stride[0] && v.stride[0] == k.stride[0] && dk.stride[0] == k.stride[0] &&
        dv.stride[0] == k.stride[0] && dout.stride[0] == out.stride[0])
      << "[attention] want gradients strided as their tensors";
  for (const View* x : {&dq, &dk, &dv}) ZeroTail(stream, *x, documents.starts_q[documents.size]);
  Execute(true, stream, {q, k, v, out, lse, dout, dq, dk, dv}, documents, options, workspace);
}

WorkspaceBytes Workspace(const AttentionShape& shape, const PackedDocuments& documents,
                         const AttentionOptions& options, bool ask) {
  WorkspaceBytes bytes;
  for (const bool backward : {false, true}) {
    int64_t& most = backward ? bytes.backward : bytes.forward;
    ForEachCall(backward, shape, documents, [&](const AttentionCall& call, int64_t heads, int64_t) {
      const int64_t row = (shape.heads + 2 * shape.kv_heads) * shape.head_dim;  // merged q, k, v
      const Key key = {backward,
                       call.count,
                       call.longest,
                       RoundRows(shape.tokens_q),
                       heads,
                       KvHeads(shape, heads),
                       shape.head_dim,
                       row,
                       row,
                       shape.heads * shape.head_dim,
                       shape.heads,
                       options.window,
                       options.scale};
      const int64_t own =
          ask ? Library::Get().PlanFor(key).workspace : PlanBytes(backward, call, shape, heads);
      const bool singly = backward && heads * shape.kv_heads < shape.heads;
      const int64_t sums = singly ? HeadBytes(shape, row) + HeadSumsBytes(shape) : 0;
      most = std::max(most, StartsBytes(call.count) + sums + own);
    });
  }
  return bytes;
}

}  // namespace lockstep::kernels::cuda::cudnn
