#include "dist/nccl_communicator.h"

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "dist/peer_check.h"
#include "dist/timed_waits.h"
#include "tensor/cuda_check.h"

namespace lockstep::dist {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kWatchInterval{5};
constexpr std::chrono::microseconds kHostWaitInterval{20};
constexpr std::chrono::milliseconds kAskStoreInterval{200};
constexpr char kIdKey[] = "nccl/id";
constexpr char kFailedKey[] = "nccl/failed";

absl::Status StatusOf(ncclResult_t result, ncclComm_t comm) {
  if (result == ncclSuccess || result == ncclInProgress) return absl::OkStatus();
  const absl::string_view detail = absl::NullSafeStringView(ncclGetLastError(comm));
  return absl::UnavailableError(
      absl::StrCat("NCCL: ", ncclGetErrorString(result), detail.empty() ? "" : ": ", detail));
}

ncclDataType_t TypeOf(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return ncclFloat64;
    case DType::kF32:
      return ncclFloat32;
    case DType::kBF16:
      return ncclBfloat16;
    case DType::kI64:
      return ncclInt64;
    case DType::kI32:
      return ncclInt32;
    default:
      LOG(FATAL) << "[nccl] no reduction for " << NameOf(dtype);
  }
}

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(int rank, int size, Device device, FailureHandler on_failure)
      : Communicator(rank, size), device_(device), on_failure_(std::move(on_failure)) {
    CUDA_CHECK(cudaSetDevice(device_.index));
    int least = 0, greatest = 0;  // first in line for SMs: what it waits for is already late
    CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    CUDA_CHECK(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, greatest));
    CUDA_CHECK(cudaEventCreateWithFlags(&ready_, cudaEventDisableTiming));
    CUDA_CHECK(cudaMalloc(&staging_, 2 * kMaxHostBytes));
  }

  // Errors of CUDA are not looked at: the device may be the reason for the end.
  ~NcclCommunicator() override {
    Abort();
    if (watcher_.joinable()) watcher_.join();
    for (const InFlight& call : in_flight_) cudaEventDestroy(call.done);
    for (const cudaEvent_t event : events_) cudaEventDestroy(event);
    cudaFree(staging_);
    cudaEventDestroy(ready_);
    cudaStreamDestroy(stream_);
  }

  // Joins the ranks that have `id` and shows that a collective works. `failed_elsewhere` is asked
  // now and then.
  absl::Status Connect(const ncclUniqueId& id, int max_channels, Clock::time_point deadline,
                       const std::function<absl::Status()>& failed_elsewhere) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    config.minCTAs = 1;
    config.maxCTAs = max_channels;
    ncclResult_t result = ncclCommInitRankConfig(&comm_, size(), id, rank(), &config);
    const auto wait = [&](const char* phase, const std::function<bool()>& done) -> absl::Status {
      for (auto ask = Clock::now(); !done();) {
        if (Clock::now() > deadline) return absl::DeadlineExceededError(phase);
        if (Clock::now() > ask) {
          RETURN_IF_ERROR(failed_elsewhere());
          ask = Clock::now() + kAskStoreInterval;
        }
        std::this_thread::sleep_for(kHostWaitInterval);
      }
      return absl::OkStatus();
    };
    RETURN_IF_ERROR(wait("connecting the GPUs", [&] {
      if (result == ncclInProgress) ncclCommGetAsyncError(comm_, &result);
      return result != ncclInProgress;
    }));
    RETURN_IF_ERROR(Annotate(StatusOf(result, comm_), "connecting the GPUs"));
    watcher_ = std::thread([this] { Watch(); });

    // NCCL sets up the paths between GPUs when they are first used.
    const Work first = Barrier({device_, stream_}, "of the start");
    return wait("the first collective", [&] { return position().completed >= first.sequence; });
  }

  void Wait(Work work, Stream stream) override {
    std::unique_lock<std::mutex> lock(mutex_);
    CHECK_LE(work.sequence, submitted_);
    if (work.sequence <= completed_) return;
    const cudaEvent_t done = in_flight_[static_cast<size_t>(work.sequence - completed_ - 1)].done;
    if (done == nullptr) {  // not launched: there will be no result
      changed_.wait(lock, [this] { return aborted_; });
      return;
    }
    // Only the calling thread records events again, so this one stays what it is.
    lock.unlock();
    if (stream.device.type == DeviceType::kCPU) return WaitOnHost(work.sequence);
    waits_.Wait(static_cast<cudaStream_t>(stream.handle), done);
  }

  double waited_ms() override { return waits_.waited_ms(); }

  void Abort() override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (aborted_) return;
      aborted_ = true;
    }
    changed_.notify_all();
    const std::lock_guard<std::mutex> lock(comm_mutex_);
    if (comm_ != nullptr) ncclCommAbort(comm_);
    comm_ = nullptr;
  }

  Position position() const override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return {submitted_, completed_, in_flight_.empty() ? "" : in_flight_.front().name};
  }

 private:
  struct InFlight {
    std::string name;
    cudaEvent_t done = nullptr;  // null until it is launched
  };

  Work Submit(Call call, Stream stream) override {
    const bool on_host = stream.device.type == DeviceType::kCPU;
    CHECK(on_host || stream.device == device_) << "[nccl] want a stream of this rank's GPU";
    if (call.kind != Call::Kind::kBarrier) {
      CHECK(call.input.device == stream.device && call.output.device == stream.device)
          << "[nccl] " << call.name << ": memory and stream: want one device";
    }
    Work work;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      in_flight_.push_back({call.name});
      work.sequence = ++submitted_;
    }
    if (on_host) {
      RunOnHost(call, work);
    } else {
      CUDA_CHECK(cudaEventRecord(ready_, static_cast<cudaStream_t>(stream.handle)));
      CUDA_CHECK(cudaStreamWaitEvent(stream_, ready_));
      Launch(call);
    }
    return work;
  }

  void RunOnHost(const Call& call, Work work) {
    if (call.kind == Call::Kind::kBarrier) {
      Launch(call);
      return Wait(work, Stream());
    }
    CHECK_LE(std::max(call.input.num_bytes(), call.output.num_bytes()), kMaxHostBytes)
        << "[nccl] " << call.name << ": host memory";
    Call staged = call;
    staged.input.data = staging_;
    const bool in_place = call.input.data == call.output.data;
    staged.output.data = static_cast<char*>(staging_) + (in_place ? 0 : kMaxHostBytes);
    CUDA_CHECK(cudaMemcpyAsync(staging_, call.input.data, call.input.num_bytes(),
                               cudaMemcpyHostToDevice, stream_));
    Launch(staged);
    Wait(work, Stream());
    if (position().completed < work.sequence) return;  // aborted
    CUDA_CHECK(cudaMemcpyAsync(call.output.data, staged.output.data, call.output.num_bytes(),
                               cudaMemcpyDeviceToHost, stream_));
    CUDA_CHECK(cudaStreamSynchronize(stream_));
  }

  // Puts the newest call on the communicator's stream.
  void Launch(const Call& call) {
    if (!Enqueue(call)) return;
    cudaEvent_t done = nullptr;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!events_.empty()) {
        done = events_.back();
        events_.pop_back();
      }
    }
    if (done == nullptr) CUDA_CHECK(cudaEventCreateWithFlags(&done, cudaEventDisableTiming));
    CUDA_CHECK(cudaEventRecord(done, stream_));
    const std::lock_guard<std::mutex> lock(mutex_);
    in_flight_.back().done = done;
  }

  // False where it failed, which the watching thread tells, or was aborted.
  bool Enqueue(const Call& call) {
    std::unique_lock<std::mutex> lock(comm_mutex_);
    if (comm_ == nullptr) return false;
    ncclResult_t result = Invoke(call);
    while (result == ncclInProgress) {  // for tens of microseconds: too short to sleep
      lock.unlock();
      std::this_thread::yield();
      lock.lock();
      if (comm_ == nullptr) return false;
      ncclCommGetAsyncError(comm_, &result);
    }
    CHECK(result != ncclInvalidArgument && result != ncclInvalidUsage)
        << "[nccl] " << call.name << ": " << StatusOf(result, comm_).message();
    launch_error_ = StatusOf(result, comm_);
    return launch_error_.ok();
  }

  ncclResult_t Invoke(const Call& call) {
    const void* const in = call.input.data;
    void* const out = call.output.data;
    const auto numel = static_cast<size_t>(call.output.numel());
    const ncclRedOp_t op = call.op == ReduceOp::kSum ? ncclSum : ncclMax;
    switch (call.kind) {
      case Call::Kind::kAllReduce:
        return ncclAllReduce(in, out, numel, TypeOf(call.output.dtype), op, comm_, stream_);
      case Call::Kind::kBroadcast:
        return ncclBroadcast(in, out, call.output.num_bytes(), ncclUint8, call.root, comm_,
                             stream_);
      case Call::Kind::kAllGather:
        return ncclAllGather(in, out, call.input.num_bytes(), ncclUint8, comm_, stream_);
      case Call::Kind::kReduceScatter:
        return ncclReduceScatter(in, out, numel, TypeOf(call.output.dtype), ncclSum, comm_,
                                 stream_);
      case Call::Kind::kBarrier:
        return ncclAllReduce(staging_, staging_, 1, ncclInt32, ncclMax, comm_, stream_);
    }
    LOG(FATAL) << "unreachable";
  }

  void WaitOnHost(int64_t sequence) {
    while (true) {
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (aborted_ || completed_ >= sequence) return;
      }
      (void)Poll();  // an error is seen by the watching thread too
      std::this_thread::sleep_for(kHostWaitInterval);
    }
  }

  // Takes note of what the device has finished.
  absl::Status Poll() {
    const std::lock_guard<std::mutex> lock(mutex_);
    while (!aborted_ && !in_flight_.empty() && in_flight_.front().done != nullptr) {
      const cudaError_t state = cudaEventQuery(in_flight_.front().done);
      if (state != cudaSuccess) {
        cudaGetLastError();
        if (state == cudaErrorNotReady) break;
        return absl::InternalError(
            absl::StrCat("GPU ", device_.index, ": ", cudaGetErrorString(state)));
      }
      events_.push_back(in_flight_.front().done);
      in_flight_.pop_front();
      ++completed_;
    }
    return absl::OkStatus();
  }

  absl::Status ErrorOfNccl() {
    const std::lock_guard<std::mutex> lock(comm_mutex_);
    if (comm_ == nullptr || !launch_error_.ok()) return launch_error_;
    ncclResult_t result = ncclSuccess;
    ncclCommGetAsyncError(comm_, &result);
    return StatusOf(result, comm_);
  }

  void Watch() {
    CUDA_CHECK(cudaSetDevice(device_.index));
    while (true) {
      {
        std::unique_lock<std::mutex> lock(mutex_);
        if (changed_.wait_for(lock, kWatchInterval, [this] { return aborted_; })) return;
      }
      absl::Status status = Poll();
      if (status.ok()) status = ErrorOfNccl();
      if (status.ok()) continue;
      if (on_failure_) on_failure_(status, position().current);
      return;
    }
  }

  const Device device_;
  const FailureHandler on_failure_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t ready_ = nullptr;  // what the caller's stream held at the newest call
  void* staging_ = nullptr;      // host calls: input, and behind it output where that is another

  TimedWaits waits_;  // the caller's thread's

  std::mutex comm_mutex_;      // never taken while mutex_ is held
  ncclComm_t comm_ = nullptr;  // null after Abort
  absl::Status launch_error_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<InFlight> in_flight_;   // calls completed_ + 1 to submitted_
  std::vector<cudaEvent_t> events_;  // to be used again
  int64_t submitted_ = 0;
  int64_t completed_ = 0;
  bool aborted_ = false;
  std::thread watcher_;
};

// Read by NCCL when it is first used.
void SetDefaultsOfNccl(const StoreClient& store) {
  setenv("NCCL_NVLS_ENABLE", "0", /*overwrite=*/0);
  if (absl::StartsWith(store.local_address(), "127.")) setenv("NCCL_SOCKET_IFNAME", "lo", 0);
}

// Rank 0 draws the id, the others are told.
absl::StatusOr<ncclUniqueId> ExchangeId(int rank, StoreClient& store,
                                        std::chrono::milliseconds timeout) {
  ncclUniqueId id;
  if (rank == 0) {
    RETURN_IF_ERROR(Annotate(StatusOf(ncclGetUniqueId(&id), nullptr), "drawing the id"));
    RETURN_IF_ERROR(store.Set(kIdKey, absl::string_view(id.internal, sizeof(id.internal))));
    return id;
  }
  const absl::StatusOr<std::string> bytes = store.Wait(kIdKey, timeout);
  RETURN_IF_ERROR(Annotate(bytes.status(), "waiting for the id from rank 0"));
  CHECK_EQ(bytes->size(), sizeof(id.internal));
  std::memcpy(id.internal, bytes->data(), sizeof(id.internal));
  return id;
}

// NCCL takes direct copies for granted where the driver offers them.
absl::Status CheckPeers(int rank, int size, StoreClient& store, const NcclOptions& options) {
  ASSIGN_OR_RETURN(const PeerReport peers, TestPeers(rank, size, store, "peer", options.device,
                                                     options.peer_limit, options.timeout));
  if (!peers.usable) setenv("NCCL_P2P_DISABLE", "1", /*overwrite=*/1);
  if (rank == 0 && !peers.line.empty()) LOG(WARNING) << peers.line;
  return absl::OkStatus();
}

absl::Status FailedElsewhere(StoreClient& store) {
  ASSIGN_OR_RETURN(const auto failure, store.Get(kFailedKey));
  return failure ? absl::AbortedError(*failure) : absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> MakeNcclCommunicator(int rank, int size,
                                                                   StoreClient& store,
                                                                   NcclOptions options) {
  CHECK(options.device.type == DeviceType::kCUDA) << "[nccl] want a GPU";
  const Clock::time_point deadline = Clock::now() + options.timeout;
  SetDefaultsOfNccl(store);
  auto communicator =
      std::make_unique<NcclCommunicator>(rank, size, options.device, std::move(options.on_failure));
  const absl::Status connected = [&]() -> absl::Status {
    RETURN_IF_ERROR(Annotate(CheckPeers(rank, size, store, options), "peer test"));
    ASSIGN_OR_RETURN(const ncclUniqueId id, ExchangeId(rank, store, options.timeout));
    return communicator->Connect(id, options.max_channels, deadline,
                                 [&] { return FailedElsewhere(store); });
  }();
  if (connected.ok()) return communicator;

  std::string failure(connected.message());
  if (!absl::IsAborted(connected)) {
    if (absl::IsDeadlineExceeded(connected)) {
      absl::StrAppend(&failure, ": not done within ", options.timeout.count() / 1000, " s");
    }
    failure = absl::StrCat("rank ", rank, ", GPU ", options.device.index, ": ", failure);
    (void)store.Set(kFailedKey, failure);  // the others have limits of their own
  }
  return UserError("communicator",
                   absl::StrCat("the ranks' GPUs could not be connected; ", failure),
                   "NCCL_DEBUG=INFO says more, its version too; ranks share GPUs "
                   "(NCCL_MULTI_RANK_GPU_ENABLE=1) from 2.30 on");
}

}  // namespace lockstep::dist
