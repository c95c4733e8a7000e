#include "tensor/runtime.h"

#include <cstring>
#include <numeric>
#include <vector>

#include "gtest/gtest.h"
#include "tensor/tensor.h"

namespace lockstep {
namespace {

// Every byte is written once, and an error comes back.
void CheckFill(const Context& context) {
  constexpr int64_t kNumel = 30'000'001;
  const Tensor tensor = Tensor::Empty(*context.allocator, DType::kI32, {kNumel});
  const auto count = [](size_t begin, size_t end, void* out) {
    EXPECT_EQ(begin % kAlignment, 0u);
    int32_t first = static_cast<int32_t>(begin / sizeof(int32_t));
    std::iota(static_cast<int32_t*>(out),
              static_cast<int32_t*>(out) + (end - begin) / sizeof(int32_t), first);
    return absl::OkStatus();
  };
  ASSERT_TRUE(FillDevice(context.stream, tensor.Mutable("test"), count).ok());
  std::vector<int32_t> want(kNumel), got(kNumel);
  std::iota(want.begin(), want.end(), 0);
  CopyToHost(context.stream, tensor, got.data());
  EXPECT_EQ(got, want);
  const auto fail = [](size_t begin, size_t, void*) {
    return begin < (size_t{40} << 20) ? absl::OkStatus() : absl::DataLossError("late");
  };
  EXPECT_EQ(FillDevice(context.stream, tensor.Mutable("test"), fail), absl::DataLossError("late"));
}

void CheckEvents(const Context& context) {
  const Tensor tensor = Tensor::Empty(*context.allocator, DType::kI64, {1});
  const auto start = Event::Create(context.device()), end = Event::Create(context.device());
  const int64_t one = 1;
  start->Record(context.stream);
  CopyToDevice(context.stream, &one, tensor);
  end->Record(context.stream);
  end->Wait();
  EXPECT_GE(end->SecondsSince(*start), 0);
}

void CheckRoundTrip(Runtime& runtime) {
  const Context& context = runtime.context();
  for (const int64_t n : {1, 1000, 30'000'000}) {  // the last is larger than a staging buffer
    std::vector<int32_t> numbers(n), back(n, -1);
    std::iota(numbers.begin(), numbers.end(), 0);
    const Tensor tensor = Tensor::Empty(*context.allocator, DType::kI32, {n});
    CopyToDevice(context.stream, numbers.data(), tensor);
    CopyToHost(context.stream, tensor, back.data());
    EXPECT_EQ(back, numbers);

    const auto copy = HostCopy::Create(context.device(), n * sizeof(int32_t));
    copy->Begin(context.stream, tensor);
    const std::vector<int32_t> others(n, 5);
    CopyToDevice(context.stream, others.data(), tensor);  // behind the copy
    copy->Wait();
    EXPECT_EQ(std::memcmp(copy->data(), numbers.data(), copy->bytes()), 0);

    Synchronize(context.stream);
    copy->BeginBeside(tensor.Slice(0, n / 2, n));  // less than there is room for
    copy->Wait();
    const size_t bytes = (n - n / 2) * sizeof(int32_t);
    EXPECT_EQ(std::memcmp(copy->data(), others.data(), bytes), 0);
  }
  Synchronize(context.stream);
  CheckFill(context);
  CheckEvents(context);
  EXPECT_FALSE(runtime.Describe().empty());
  EXPECT_GT(runtime.FreeBytes(), 0);
}

TEST(RuntimeTest, BytesGoToTheCpuAndBack) { CheckRoundTrip(**Runtime::Open(Device{})); }

TEST(RuntimeTest, BytesGoToTheGpuAndBack) {
  if (CudaDeviceCount() == 0) GTEST_SKIP() << "no GPU here";
  CheckRoundTrip(**Runtime::Open(Device{DeviceType::kCUDA, 0}));
}

TEST(RuntimeTest, AGpuThatIsNotThereIsAnErrorWithAWayOut) {
  const auto runtime = Runtime::Open(Device{DeviceType::kCUDA, 100});
  ASSERT_FALSE(runtime.ok());
  EXPECT_NE(std::string(runtime.status().message()).find("HINT"), std::string::npos);
}

// Another process may have taken what was free when memory was planned.
TEST(RuntimeTest, MemoryThatIsNotThereIsAnErrorWithAWayOut) {
  if (CudaDeviceCount() == 0) GTEST_SKIP() << "no GPU here";
  const auto runtime = *Runtime::Open(Device{DeviceType::kCUDA, 0});
  const int64_t too_much = int64_t{1} << 50;
  for (const auto& status : {runtime->Reserve(too_much, 0), runtime->Reserve(0, too_much)}) {
    const std::string message(status.message());
    EXPECT_NE(message.find("want 1048576.00 GiB"), std::string::npos) << message;
    EXPECT_NE(message.find("HINT"), std::string::npos) << message;
  }
  EXPECT_TRUE(runtime->Reserve(1 << 20, 1 << 20).ok()) << "errors are not kept";
}

TEST(RuntimeTest, MetaHasNoMemory) {
  const auto runtime = Runtime::Open(Device{DeviceType::kMeta});
  const Tensor huge = Tensor::Empty(*(*runtime)->context().allocator, DType::kF32, {1ll << 40});
  int32_t unread = 7;
  CopyToHost((*runtime)->context().stream, huge, &unread);
  EXPECT_EQ(unread, 7);
}

}  // namespace
}  // namespace lockstep
