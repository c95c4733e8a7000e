#include "tensor/kernels/bench/gpu.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "base/stopwatch.h"
#include "benchmark/benchmark.h"
#include "tensor/half.h"
#include "tensor/kernels/cast.h"
#include "tensor/kernels/fill.h"
#include "tensor/runtime.h"

namespace lockstep::kernels {

const Context* Gpu() {
  static const std::unique_ptr<Runtime>* runtime = [] {
    auto opened = Runtime::Open(Device{DeviceType::kCUDA, 0});
    return new std::unique_ptr<Runtime>(opened.ok() ? *std::move(opened) : nullptr);
  }();
  return *runtime == nullptr ? nullptr : &(*runtime)->context();
}

const Stream& OnGpu() { return Gpu()->stream; }

Tensor Empty(DType dtype, std::initializer_list<int64_t> shape) {
  return Tensor::Empty(*Gpu()->allocator, dtype, shape);
}

Tensor Zeros(DType dtype, std::initializer_list<int64_t> shape) {
  const Tensor x = Empty(dtype, shape);
  Fill(OnGpu(), x, 0.0);
  return x;
}

Tensor Random(DType dtype, std::initializer_list<int64_t> shape) {
  static const std::vector<float>* block = [] {
    auto* values = new std::vector<float>(1 << 20);
    std::mt19937 bits(1);
    std::normal_distribution<float> normal;
    for (float& value : *values) value = normal(bits);
    return values;
  }();
  const Tensor x = Empty(dtype, shape);
  std::vector<char> bytes(block->size() * SizeOf(dtype));
  for (size_t i = 0; i < block->size(); ++i) {
    const uint16_t half = FloatToBf16((*block)[i]);
    const void* from = dtype == DType::kBF16 ? static_cast<const void*>(&half) : &(*block)[i];
    std::memcpy(&bytes[i * SizeOf(dtype)], from, SizeOf(dtype));
  }
  const Tensor flat = x.Reshape({x.numel()});
  const int64_t size = static_cast<int64_t>(block->size());
  for (int64_t begin = 0; begin < flat.numel(); begin += size) {
    CopyToDevice(OnGpu(), bytes.data(),
                 flat.Slice(0, begin, std::min(begin + size, flat.numel())).Mutable("bench"));
  }
  return x;
}

Tensor FromHost(absl::Span<const int32_t> values) {
  const Tensor x = Empty(DType::kI32, {static_cast<int64_t>(values.size())});
  CopyToDevice(OnGpu(), values.data(), x.Mutable("bench"));
  return x;
}

Tensor Indices(int64_t n, int64_t below) {
  std::vector<int32_t> values;
  for (int64_t i = 0; i < n; ++i) values.push_back(static_cast<int32_t>(i * 7919 % below));
  return FromHost(values);
}

View HeadsOf(const View& x, int64_t first, int64_t count, int64_t dim) {
  View view = x.Slice(1, first * dim, (first + count) * dim);
  view.rank = 3;
  view.shape[1] = count, view.shape[2] = dim;
  view.stride[1] = dim, view.stride[2] = 1;
  return view;
}

namespace {

// Seconds that `count` passes take, one behind the other.
double Seconds(const std::function<void()>& pass, int count) {
  Synchronize(OnGpu());
  const Stopwatch watch;
  for (int i = 0; i < count; ++i) pass();
  Synchronize(OnGpu());
  return watch.Seconds();
}

// Bytes that a device copy reads and writes in a second.
double CopyRate() {
  static const double rate = [] {
    constexpr int64_t kNumel = int64_t{1} << 29;
    const Tensor from = Random(DType::kBF16, {kNumel}), to = Empty(DType::kBF16, {kNumel});
    const auto copy = [&] { Cast(OnGpu(), from, to); };
    Seconds(copy, 3);
    constexpr int kCount = 20;
    return kCount * 2.0 * sizeof(uint16_t) * kNumel / Seconds(copy, kCount);
  }();
  return rate;
}

}  // namespace

void RegisterOnGpu(const std::string& what, Work work, double amount,
                   std::function<std::function<void()>()> make) {
  benchmark::RegisterBenchmark(
      ("gpu/" + what).c_str(),
      [=](benchmark::State& state) {
        if (Gpu() == nullptr) {
          state.SkipWithError("no GPU");
          return;
        }
        const double copy = CopyRate();
        const std::function<void()> pass = make();
        const double once = Seconds(pass, 3) / 3;
        const int count = std::clamp(static_cast<int>(1e-2 / once), 1, 500);
        Seconds(pass, count);
        for (auto _ : state) state.SetIterationTime(Seconds(pass, count) / count);
        const auto rate = [&](double per_pass) {
          return benchmark::Counter(per_pass, benchmark::Counter::kIsIterationInvariantRate);
        };
        if (work == Work::kOperations) {
          state.counters["TFLOP/s"] = rate(1e-12 * amount);
          return;
        }
        state.counters["GB/s"] = rate(1e-9 * amount);
        state.counters["of_copy"] = rate(amount / copy);
      })
      ->UseManualTime()
      ->Iterations(10)
      ->Unit(benchmark::kMicrosecond);
}

}  // namespace lockstep::kernels
