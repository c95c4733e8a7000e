#include "dist/gloo_communicator.h"

#include <gloo/allgather.h>
#include <gloo/allreduce.h>
#include <gloo/barrier.h>
#include <gloo/broadcast.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/store.h>
#include <gloo/transport/tcp/device.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "base/stopwatch.h"
#include "tensor/half.h"

namespace lockstep::dist {
namespace {

constexpr std::chrono::hours kForever{24 * 30};
constexpr int kAttempts = 3;
// Gloo's own collectives use the slots 0x01 to 0x08.
constexpr uint8_t kReduceScatterSlot = 0x20;
constexpr uint8_t kAbortSlot = 0x21;

// Our store as Gloo wants it. Its errors are exceptions, as Gloo's are; they end in Try().
class StoreForGloo final : public gloo::rendezvous::Store {
 public:
  StoreForGloo(StoreClient& store, std::string prefix, std::chrono::milliseconds timeout)
      : store_(store), prefix_(std::move(prefix)), timeout_(timeout) {}

  void set(const std::string& key, const std::vector<char>& data) override {
    ThrowIfError(
        store_.Set(absl::StrCat(prefix_, key), absl::string_view(data.data(), data.size())));
  }
  std::vector<char> get(const std::string& key) override {
    const absl::StatusOr<std::string> value = store_.Wait(absl::StrCat(prefix_, key), timeout_);
    ThrowIfError(value.status());
    return std::vector<char>(value->begin(), value->end());
  }
  void wait(const std::vector<std::string>& keys) override { wait(keys, timeout_); }
  void wait(const std::vector<std::string>& keys,
            const std::chrono::milliseconds& timeout) override {
    for (const std::string& key : keys) {
      ThrowIfError(store_.Wait(absl::StrCat(prefix_, key), timeout).status());
    }
  }

 private:
  static void ThrowIfError(const absl::Status& status) {
    if (!status.ok()) throw std::runtime_error(std::string(status.message()));
  }

  StoreClient& store_;
  const std::string prefix_;
  const std::chrono::milliseconds timeout_;
};

// The boundary that no exception crosses.
template <typename Function>
absl::Status Try(Function function) {
  try {
    function();
    return absl::OkStatus();
  } catch (const std::exception& error) {
    return absl::UnavailableError(error.what());
  }
}

template <typename T>
void Sum(void* out, const void* a, const void* b, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    static_cast<T*>(out)[i] = static_cast<const T*>(a)[i] + static_cast<const T*>(b)[i];
  }
}

template <typename T>
void Max(void* out, const void* a, const void* b, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    static_cast<T*>(out)[i] = std::max(static_cast<const T*>(a)[i], static_cast<const T*>(b)[i]);
  }
}

template <float (*kCombine)(float, float)>
void Bf16(void* out, const void* a, const void* b, size_t n) {
  const auto* const x = static_cast<const uint16_t*>(a);
  const auto* const y = static_cast<const uint16_t*>(b);
  for (size_t i = 0; i < n; ++i) {
    static_cast<uint16_t*>(out)[i] = FloatToBf16(kCombine(Bf16ToFloat(x[i]), Bf16ToFloat(y[i])));
  }
}

float Add(float a, float b) { return a + b; }
float Larger(float a, float b) { return std::max(a, b); }

using Reduction = void (*)(void*, const void*, const void*, size_t);

// Signed sums are computed as unsigned: they wrap, which for signed integers would be undefined.
Reduction ReductionFor(DType dtype, ReduceOp op) {
  const bool sum = op == ReduceOp::kSum;
  switch (dtype) {
    case DType::kF64:
      return sum ? &Sum<double> : &Max<double>;
    case DType::kF32:
      return sum ? &Sum<float> : &Max<float>;
    case DType::kBF16:
      return sum ? &Bf16<&Add> : &Bf16<&Larger>;
    case DType::kI64:
      return sum ? &Sum<uint64_t> : &Max<int64_t>;
    case DType::kI32:
      return sum ? &Sum<uint32_t> : &Max<int32_t>;
    default:
      LOG(FATAL) << "[all_reduce] no reduction for " << NameOf(dtype);
  }
}

class GlooCommunicator final : public Communicator {
 public:
  GlooCommunicator(std::shared_ptr<gloo::Context> context, FailureHandler on_failure)
      : Communicator(context->rank, context->size),
        context_(std::move(context)),
        on_failure_(std::move(on_failure)),
        thread_([this] { RunCalls(); }) {}

  ~GlooCommunicator() override {
    Abort();
    thread_.join();
  }

  void Wait(Work work, Stream stream) override {
    CHECK(stream.device.type == DeviceType::kCPU) << "[gloo] want a CPU stream";
    const Stopwatch watch;
    std::unique_lock<std::mutex> lock(mutex_);
    CHECK_LE(work.sequence, submitted_);
    // A failed collective has no result, so there is nothing to return to: the failure handler
    // ends the process.
    changed_.wait(lock, [&] { return completed_ >= work.sequence || aborted_; });
    waited_ms_ += watch.Milliseconds();
  }

  double waited_ms() override { return waited_ms_; }

  void Abort() override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (aborted_) return;
      aborted_ = true;
    }
    changed_.notify_all();
    // Gloo has no call for this, but a receive that runs out of time gives the error to everything
    // that is pending on the context.
    (void)Try([this] {
      char nothing = 0;
      const auto buffer = context_->createUnboundBuffer(&nothing, 1);
      buffer->recv((rank() + 1) % size(), gloo::Slot::build(kAbortSlot, 0));
      buffer->waitRecv(std::chrono::milliseconds(1));
    });
    (void)Try([this] { context_->closeConnections(); });
  }

  Position position() const override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return {submitted_, completed_, calls_.empty() ? "" : calls_.front().name};
  }

 private:
  Work Submit(Call call, Stream stream) override {
    CHECK(stream.device.type == DeviceType::kCPU) << "[gloo] want a CPU stream";
    Work work;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      calls_.push_back(std::move(call));
      work.sequence = ++submitted_;
    }
    changed_.notify_all();
    return work;
  }

  void RunCalls() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return aborted_ || !calls_.empty(); });
      if (aborted_) return;
      const Call call = calls_.front();
      const uint32_t tag = static_cast<uint32_t>(completed_ + 1);
      lock.unlock();
      const absl::Status status = Try([&] { Execute(call, tag); });
      lock.lock();
      if (aborted_) return;
      if (!status.ok()) {
        lock.unlock();
        if (on_failure_) on_failure_(status, call.name);
        return;
      }
      calls_.pop_front();
      ++completed_;
      changed_.notify_all();
    }
  }

  void Execute(const Call& call, uint32_t tag) {
    char* const in = call.input.as<char>();
    char* const out = call.output.as<char>();
    const size_t in_bytes = call.input.num_bytes();
    const size_t out_bytes = call.output.num_bytes();
    if (call.kind != Call::Kind::kBarrier && out_bytes == 0) return;
    switch (call.kind) {
      case Call::Kind::kAllReduce:
        return AllReduceInPlace(call, tag);
      case Call::Kind::kBroadcast: {
        gloo::BroadcastOptions options(context_);
        options.setOutput(out, out_bytes);
        options.setRoot(call.root);
        options.setTag(tag);
        options.setTimeout(kForever);
        return gloo::broadcast(options);
      }
      case Call::Kind::kAllGather: {
        gloo::AllgatherOptions options(context_);
        if (in != out + static_cast<size_t>(rank()) * in_bytes) options.setInput(in, in_bytes);
        options.setOutput(out, out_bytes);
        options.setTag(tag);
        options.setTimeout(kForever);
        return gloo::allgather(options);
      }
      case Call::Kind::kReduceScatter:
        return ReduceScatterRing(call, tag);
      case Call::Kind::kBarrier: {
        gloo::BarrierOptions options(context_);
        options.setTag(tag);
        options.setTimeout(kForever);
        return gloo::barrier(options);
      }
    }
  }

  void AllReduceInPlace(const Call& call, uint32_t tag) {
    const Reduction reduction = ReductionFor(call.output.dtype, call.op);
    gloo::AllreduceOptions options(context_);
    const size_t n = static_cast<size_t>(call.output.numel());
    // The type only tells Gloo the size of an element.
    switch (SizeOf(call.output.dtype)) {
      case 8:
        options.setOutput(call.output.as<uint64_t>(), n);
        break;
      case 4:
        options.setOutput(call.output.as<uint32_t>(), n);
        break;
      default:
        options.setOutput(call.output.as<uint16_t>(), n);
    }
    options.setReduceFunction(reduction);
    options.setTag(tag);
    options.setTimeout(kForever);
    gloo::allreduce(options);
  }

  // Round k: part (rank - 1 - k) goes to the next rank, which adds it to its own; after size - 1
  // rounds each rank has the whole sum of its part.
  void ReduceScatterRing(const Call& call, uint32_t tag) {
    const Reduction add = ReductionFor(call.output.dtype, ReduceOp::kSum);
    const size_t part_bytes = call.output.num_bytes();
    const size_t part_numel = static_cast<size_t>(call.output.numel());
    char* const whole = call.input.as<char>();
    const int next = (rank() + 1) % size(), previous = (rank() + size() - 1) % size();
    const uint64_t slot = gloo::Slot::build(kReduceScatterSlot, tag);
    std::vector<char> arriving(part_bytes);
    const auto outgoing = context_->createUnboundBuffer(whole, call.input.num_bytes());
    const auto incoming = context_->createUnboundBuffer(arriving.data(), part_bytes);
    for (int k = 0; k + 1 < size(); ++k) {
      const size_t sent = static_cast<size_t>((rank() + 2 * size() - 1 - k) % size());
      const size_t added = static_cast<size_t>((rank() + 2 * size() - 2 - k) % size());
      outgoing->send(next, slot, sent * part_bytes, part_bytes);
      incoming->recv(previous, slot);
      incoming->waitRecv(kForever);
      outgoing->waitSend(kForever);
      char* const own = whole + added * part_bytes;
      add(own, own, arriving.data(), part_numel);
    }
    std::memmove(call.output.data, whole + static_cast<size_t>(rank()) * part_bytes, part_bytes);
  }

  const std::shared_ptr<gloo::Context> context_;
  const FailureHandler on_failure_;
  double waited_ms_ = 0;  // by the caller's thread
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Call> calls_;  // the front one is running
  int64_t submitted_ = 0;
  int64_t completed_ = 0;
  bool aborted_ = false;
  std::thread thread_;
};

// All ranks say who they are over the new connections: a stranger's connection would not.
void CheckConnections(const std::shared_ptr<gloo::Context>& context,
                      std::chrono::milliseconds timeout) {
  int64_t mine = context->rank + 1;
  std::vector<int64_t> all(static_cast<size_t>(context->size));
  gloo::AllgatherOptions options(context);
  options.setInput(&mine, 1);
  options.setOutput(all.data(), all.size());
  options.setTimeout(timeout);
  gloo::allgather(options);
  for (int rank = 0; rank < context->size; ++rank) {
    if (all[static_cast<size_t>(rank)] != rank + 1) {
      throw std::runtime_error(
          absl::StrCat("the connection to rank ", rank, " is somebody else's"));
    }
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> MakeGlooCommunicator(int rank, int size,
                                                                   StoreClient& store,
                                                                   GlooOptions options) {
  std::string failures;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const std::string prefix = absl::StrCat("gloo/", attempt, "/");
    std::shared_ptr<gloo::rendezvous::Context> context;
    const absl::Status mine = Try([&] {
      StoreForGloo rendezvous(store, absl::StrCat(prefix, "address/"), options.timeout);
      auto device = gloo::transport::tcp::CreateDevice(
          gloo::transport::tcp::attr(store.local_address().c_str()));
      context = std::make_shared<gloo::rendezvous::Context>(rank, size);
      context->setTimeout(options.timeout);
      context->connectFullMesh(rendezvous, device);
      CheckConnections(context, options.timeout);
    });
    RETURN_IF_ERROR(store.Set(absl::StrCat(prefix, "result/", rank), mine.message()));

    failures.clear();
    for (int other = 0; other < size; ++other) {
      // Others may use up their own time limits before they can say so.
      ASSIGN_OR_RETURN(const std::string result,
                       store.Wait(absl::StrCat(prefix, "result/", other), 3 * options.timeout));
      if (!result.empty()) absl::StrAppend(&failures, "\n  rank ", other, ": ", result);
    }
    if (failures.empty()) {
      return std::make_unique<GlooCommunicator>(std::move(context), std::move(options.on_failure));
    }
  }
  return UserError("communicator",
                   absl::StrCat("the ranks could not connect with each other in ", kAttempts,
                                " attempts; at last:", failures),
                   "does a firewall let the ranks' connections through?");
}

}  // namespace lockstep::dist
