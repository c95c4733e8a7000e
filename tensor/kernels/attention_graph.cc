#include "tensor/kernels/attention_graph.h"

#include <cuda_runtime_api.h>
#include <cudnn.h>
#include <cudnn_frontend.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "tensor/kernels/attention_starts.h"

namespace lockstep::kernels::cuda::cudnn {
namespace {

namespace fe = cudnn_frontend;
using fe::graph::Tensor_attributes;
using TensorPtr = std::shared_ptr<Tensor_attributes>;

// Asking for it must not be what opens cuDNN.
std::atomic<int64_t> num_graphs = 0;

struct Plan {
  std::shared_ptr<fe::graph::Graph> graph;
  int64_t workspace = 0;
};

// The tensors of a graph: dims [count, heads, longest, dim], rows of documents end to end.
class Builder {
 public:
  explicit Builder(const GraphKey& key) : key_(key), graph_(std::make_shared<fe::graph::Graph>()) {
    graph_->set_io_data_type(fe::DataType_t::BFLOAT16)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    if (!key.ragged) return;
    lengths_ = Integers(kLengths, key.count);
    for (int t = 0; t < kStartTensors; ++t) starts_[t] = Integers(kStarts + t, key.count + 1);
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
                       .set_deterministic_algorithm(true);
    if (key_.ragged) options.set_max_total_seq_len_q(key_.rows).set_max_total_seq_len_kv(key_.rows);
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
  TensorPtr Integers(int64_t uid, int64_t count) {
    return graph_->tensor(Tensor_attributes()
                              .set_uid(uid)
                              .set_dim({count, 1, 1, 1})
                              .set_stride({1, 1, 1, 1})
                              .set_data_type(fe::DataType_t::INT32));
  }

  template <typename Options>
  void Mask(Options& options) {
    if (key_.ragged)
      options.set_padding_mask(true).set_seq_len_q(lengths_).set_seq_len_kv(lengths_);
    options.set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT)
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
        .set_data_type(fe::DataType_t::BFLOAT16);
    if (key_.ragged) tensor.set_ragged_offset(starts_[out ? 2 : kv ? 1 : 0]);
  }

  void ShapeLse(Tensor_attributes& tensor) {
    tensor.set_uid(kLse)
        .set_dim({key_.count, key_.heads, key_.longest, 1})
        .set_stride({key_.lse_row * key_.longest, 1, key_.lse_row, 1})
        .set_data_type(fe::DataType_t::FLOAT);
    if (key_.ragged) tensor.set_ragged_offset(starts_[3]);
  }

  TensorPtr Input(Uid uid) {
    Tensor_attributes attributes;
    Shape(attributes, uid);
    return graph_->tensor(attributes);
  }

  Plan Finish(cudnnHandle_t handle) {
    Want(graph_->validate());
    Want(graph_->build_operation_graph(handle));
    Want(graph_->create_execution_plans({fe::HeurMode_t::A}));
    Want(graph_->check_support(handle));
    Want(graph_->build_plans(handle));
    Plan plan = {graph_, 0};
    Want(graph_->get_workspace_size(plan.workspace));
    return plan;
  }

  void Want(fe::error_t error) const {
    CHECK(error.is_good()) << "[attention] cuDNN " << CudnnVersion() << " does not compute "
                           << Describe(key_) << ", on this GPU: " << error.get_message()
                           << "\nHINT: --dtype=fp32 does without cuDNN";
  }

  const GraphKey& key_;
  std::shared_ptr<fe::graph::Graph> graph_;
  TensorPtr lengths_, starts_[kStartTensors];
};

// cuDNN's handles are for one thread at a time. A graph may refer to the one that it was built
// with, so they are never destroyed.
class Handles {
 public:
  cudnnHandle_t Take() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!free_.empty()) {
      const cudnnHandle_t handle = free_.back();
      free_.pop_back();
      return handle;
    }
    cudnnHandle_t handle;
    CHECK_EQ(cudnnCreate(&handle), CUDNN_STATUS_SUCCESS) << "[attention] no cuDNN";
    return handle;
  }
  void GiveBack(cudnnHandle_t handle) {
    std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(handle);
  }

 private:
  std::mutex mutex_;
  std::vector<cudnnHandle_t> free_;
};

// One GPU a process: plans by key, one handle that runs them.
class Library {
 public:
  static Library& Get() {
    static Library* library = new Library;
    return *library;
  }

  const Plan& PlanFor(const GraphKey& key) {
    Slot* slot = nullptr;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      slot = &slots_[key];
    }
    std::call_once(slot->built, [&] {
      const cudnnHandle_t handle = building_.Take();
      Builder builder(key);
      slot->plan = key.backward ? builder.BuildBackward(handle) : builder.BuildForward(handle);
      building_.GiveBack(handle);
      ++num_graphs;
    });
    return slot->plan;
  }

  cudnnHandle_t HandleOn(const Stream& stream) {
    CHECK_EQ(cudnnSetStream(running_, static_cast<cudaStream_t>(stream.handle)),
             CUDNN_STATUS_SUCCESS);
    return running_;
  }

 private:
  struct Slot {
    std::once_flag built;
    Plan plan;
  };

  Handles building_;
  const cudnnHandle_t running_ = building_.Take();
  std::mutex mutex_;
  std::map<GraphKey, Slot> slots_;
};

}  // namespace

int64_t CudnnVersion() { return static_cast<int64_t>(cudnnGetVersion()); }

std::string Describe(const GraphKey& key) {
  return absl::StrCat(key.backward ? "the backward of " : "", key.count, " documents of ",
                      key.longest, " rows, ", key.heads, " heads and ", key.kv_heads, " of keys, ",
                      key.dim, " wide");
}

void BuildGraphs(Device device, absl::Span<const GraphKey> keys, int num_threads,
                 const std::atomic<bool>& stop) {
  std::atomic<size_t> next = 0;
  const auto build = [&] {
    CHECK_EQ(cudaSetDevice(device.index), cudaSuccess);
    for (size_t i = next++; i < keys.size() && !stop; i = next++) Library::Get().PlanFor(keys[i]);
  };
  std::vector<std::thread> threads;
  for (int i = 1; i < std::min<int64_t>(num_threads, std::ssize(keys)); ++i) {
    threads.emplace_back(build);
  }
  build();
  for (std::thread& thread : threads) thread.join();
}

int64_t NumGraphs() { return num_graphs; }

int64_t GraphWorkspace(const GraphKey& key) { return Library::Get().PlanFor(key).workspace; }

void ExecuteGraph(const Stream& stream, const GraphKey& key,
                  std::unordered_map<int64_t, void*>& tensors, void* workspace) {
  const Plan& plan = Library::Get().PlanFor(key);
  fe::error_t error = plan.graph->execute(Library::Get().HandleOn(stream), tensors, workspace);
  CHECK(error.is_good()) << "[attention] cuDNN, " << Describe(key) << ": " << error.get_message();
}

}  // namespace lockstep::kernels::cuda::cudnn
