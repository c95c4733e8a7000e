#include "dist/communicator.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "dist/immediate_communicator.h"

namespace lockstep::dist {
namespace {

std::string Name(absl::string_view collective, absl::string_view what) {
  return what.empty() ? std::string(collective) : absl::StrCat(collective, " ", what);
}

void CheckView(absl::string_view name, const View& view) {
  CHECK(view.contiguous()) << "[" << name << "] want a contiguous view";
  CHECK(view.numel() == 0 || view.data != nullptr) << "[" << name << "] want memory";
}

void CheckReducible(absl::string_view name, DType dtype) {
  CHECK(dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kBF16 ||
        dtype == DType::kI64 || dtype == DType::kI32)
      << "[" << name << "] want f64, f32, bf16, i64 or i32, got " << NameOf(dtype);
}

void CheckParts(absl::string_view name, const View& part, const View& whole, int size) {
  CHECK(part.dtype == whole.dtype) << "[" << name << "] part and whole: want one dtype";
  CHECK_EQ(whole.numel(), part.numel() * size)
      << "[" << name << "] want whole = " << size << " parts";
}

}  // namespace

Communicator::Work Communicator::AllReduce(const View& data, ReduceOp op, Stream stream,
                                           absl::string_view what) {
  std::string name = Name("all_reduce", what);
  CheckView(name, data);
  CheckReducible(name, data.dtype);
  return Submit({Call::Kind::kAllReduce, data, data, op, 0, std::move(name)}, stream);
}

Communicator::Work Communicator::Broadcast(const View& data, int root, Stream stream,
                                           absl::string_view what) {
  std::string name = Name("broadcast", what);
  CheckView(name, data);
  CHECK(root >= 0 && root < size_) << "[" << name << "] root " << root << " of " << size_;
  return Submit({Call::Kind::kBroadcast, data, data, ReduceOp::kSum, root, std::move(name)},
                stream);
}

Communicator::Work Communicator::AllGather(const View& part, const View& whole, Stream stream,
                                           absl::string_view what) {
  std::string name = Name("all_gather", what);
  CheckView(name, part);
  CheckView(name, whole);
  CheckParts(name, part, whole, size_);
  return Submit({Call::Kind::kAllGather, part, whole, ReduceOp::kSum, 0, std::move(name)}, stream);
}

Communicator::Work Communicator::ReduceScatter(const View& whole, const View& part, Stream stream,
                                               absl::string_view what) {
  std::string name = Name("reduce_scatter", what);
  CheckView(name, part);
  CheckView(name, whole);
  CheckReducible(name, whole.dtype);
  CheckParts(name, part, whole, size_);
  return Submit({Call::Kind::kReduceScatter, whole, part, ReduceOp::kSum, 0, std::move(name)},
                stream);
}

Communicator::Work Communicator::Barrier(Stream stream, absl::string_view what) {
  return Submit({Call::Kind::kBarrier, View(), View(), ReduceOp::kSum, 0, Name("barrier", what)},
                stream);
}

namespace {

class SoloCommunicator final : public ImmediateCommunicator {
 public:
  SoloCommunicator() : ImmediateCommunicator(0, 1) {}

 private:
  void Do(const Call& call) override {
    if (call.input.data == call.output.data) return;
    CHECK(call.input.device.type == DeviceType::kCPU) << "[" << call.name << "] host memory only";
    std::memcpy(call.output.data, call.input.data, call.input.num_bytes());
  }
};

template <typename T>
T ReduceValue(Communicator& communicator, T value, ReduceOp op, absl::string_view what) {
  const Stream stream;
  const View view = MakeView(&value, DTypeOf<T>::value, stream.device, {1});
  communicator.Wait(communicator.AllReduce(view, op, stream, what), stream);
  return value;
}

}  // namespace

std::unique_ptr<Communicator> MakeSoloCommunicator() {
  return std::make_unique<SoloCommunicator>();
}

int64_t AllReduceValue(Communicator& communicator, int64_t value, ReduceOp op,
                       absl::string_view what) {
  return ReduceValue(communicator, value, op, what);
}

double AllReduceValue(Communicator& communicator, double value, ReduceOp op,
                      absl::string_view what) {
  return ReduceValue(communicator, value, op, what);
}

std::vector<double> AllGatherValues(Communicator& communicator, std::vector<double> mine,
                                    absl::string_view what) {
  const Stream host;
  std::vector<double> all(mine.size() * static_cast<size_t>(communicator.size()));
  const auto view = [&](std::vector<double>& values) {
    return MakeView(values.data(), DType::kF64, host.device, {static_cast<int64_t>(values.size())});
  };
  communicator.Wait(communicator.AllGather(view(mine), view(all), host, what), host);
  return all;
}

}  // namespace lockstep::dist
