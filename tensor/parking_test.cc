#include "tensor/parking.h"

#include <memory>
#include <numeric>
#include <vector>

#include "gtest/gtest.h"
#include "tensor/kernels/fill.h"

namespace lockstep {
namespace {

// Parked tensors come back with their bytes, though others have used their memory meanwhile.
void CheckRoundTrips(Runtime& runtime, Allocator* host) {
  const Context& context = runtime.context();
  Parking parking(context, runtime.copy_stream(), host);
  constexpr int kTensors = 6;
  constexpr int64_t kNumel = 3'000'001;
  const int64_t bytes = context.allocator->bytes_in_use(), host_bytes = host->bytes_in_use();
  const auto size = static_cast<int64_t>(AlignUp(kNumel * sizeof(int32_t)));
  context.allocator->ResetPeak();
  for (int round = 0; round < 3; ++round) {
    std::vector<std::shared_ptr<Parking::Place>> parked;
    for (int i = 0; i < kTensors; ++i) {
      std::vector<int32_t> numbers(kNumel);
      std::iota(numbers.begin(), numbers.end(), 1000 * round + i);
      const Tensor x = Tensor::Empty(*context.allocator, DType::kI32, {kNumel});
      CopyToDevice(context.stream, numbers.data(), x.Mutable("test"));
      parked.push_back(parking.Park(x));
    }
    EXPECT_EQ(host->bytes_in_use(), host_bytes + kTensors * size);
    EXPECT_EQ(context.allocator->bytes_in_use(), bytes + size) << "the last, on its way";
    const Tensor other = Tensor::Empty(*context.allocator, DType::kF32, {2 * kNumel});
    kernels::Fill(context.stream, other.Mutable("test"), 7.0);
    for (int i = kTensors - 1; i >= 0; --i) {
      const Tensor x = parked[i]->Take();
      std::vector<int32_t> want(kNumel), got(kNumel);
      std::iota(want.begin(), want.end(), 1000 * round + i);
      CopyToHost(context.stream, x, got.data());
      EXPECT_EQ(got, want);
      parked.pop_back();
    }
    EXPECT_EQ(host->bytes_in_use(), host_bytes);
  }
  EXPECT_EQ(context.allocator->bytes_in_use(), bytes);
  EXPECT_LE(context.allocator->peak_bytes(), bytes + 4 * size + 512) << "two, and the other one";
}

TEST(ParkingTest, OnTheCpu) {
  const auto runtime = *Runtime::Open(Device{});
  CpuAllocator host;
  CheckRoundTrips(*runtime, &host);
  EXPECT_EQ(Parking::Create(*runtime), nullptr) << "it is host memory already";
}

TEST(ParkingTest, OnTheGpu) {
  if (CudaDeviceCount() == 0) GTEST_SKIP() << "no GPU here";
  const auto runtime = *Runtime::Open(Device{DeviceType::kCUDA, 0});
  CheckRoundTrips(*runtime, runtime->host_allocator());
  EXPECT_NE(Parking::Create(*runtime), nullptr);
}

TEST(ParkingTest, InAnyOrderAndGivenUp) {
  const auto runtime = *Runtime::Open(Device{});
  CpuAllocator host;
  const Context& context = runtime->context();
  Parking parking(context, runtime->copy_stream(), &host);
  std::vector<std::shared_ptr<Parking::Place>> parked;
  for (int i = 0; i < 4; ++i) {
    const Tensor x = Tensor::Empty(*context.allocator, DType::kI32, {1});
    CopyToDevice(context.stream, &i, x.Mutable("test"));
    parked.push_back(parking.Park(x));
  }
  parked[2].reset();
  for (const int i : {0, 3, 1}) {
    EXPECT_EQ(*parked[i]->Take().view().as<int32_t>(), i);
  }
  parked.clear();
  EXPECT_EQ(host.bytes_in_use(), 0);
  EXPECT_EQ(context.allocator->bytes_in_use(), 0);
}

TEST(ParkingDeathTest, AParkedTensorStaysAsItIs) {
  const auto runtime = *Runtime::Open(Device{});
  CpuAllocator host;
  Parking parking(runtime->context(), runtime->copy_stream(), &host);
  const Tensor x = Tensor::Empty(*runtime->context().allocator, DType::kI32, {1});
  const auto parked = parking.Park(x);
  x.Mutable("somebody");
  EXPECT_DEATH(parked->Take(), "modified in place by somebody");
}

}  // namespace
}  // namespace lockstep
