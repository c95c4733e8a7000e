#include "tools/benchmarks/all_reduce.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "base/stopwatch.h"
#include "dist/world.h"
#include "tensor/kernels/fill.h"
#include "tensor/kernels/gemm.h"
#include "tensor/runtime.h"
#include "tensor/tensor.h"
#include "tools/benchmarks/ranks.h"

namespace lockstep {
namespace {

class Bench {
 public:
  Bench(const AllReduceOptions& options, const Context& context, dist::Communicator& communicator)
      : options_(options),
        context_(context),
        communicator_(communicator),
        x_(RandomBf16({8192, 4096})),
        w_(RandomBf16({4096, 4096})),
        y_(Tensor::Empty(*context.allocator, DType::kBF16, {8192, 4096})) {}

  void Run() {
    struct Line {
      DType dtype;
      int64_t buckets;
      std::vector<double> alone, beside;
    };
    std::vector<Line> lines;
    for (const DType dtype : {DType::kI64, DType::kF32}) {
      for (const int64_t buckets : {1, 4, 32}) lines.push_back({dtype, buckets, {}, {}});
    }
    const Tensor values = Tensor::Empty(*context_.allocator, DType::kI64, {options_.numel});
    kernels::Fill(context_.stream, values.Mutable("bench"), 0.0);
    for (int round = -1; round < options_.rounds; ++round) {
      for (Line& line : lines) {
        const View data =
            MakeView(values.view().data, line.dtype, context_.stream.device, {options_.numel});
        const double alone = Milliseconds([&] { Sum(data, line.buckets, [] {}); });
        const double products = Milliseconds([&] { Multiply(); });
        const double both = Milliseconds([&] { Sum(data, line.buckets, [&] { Multiply(); }); });
        if (round < 0) continue;  // warms up
        line.alone.push_back(alone);
        line.beside.push_back(both - products);
        products_.push_back(products);
      }
    }
    if (communicator_.rank() != 0) return;
    std::printf("%d products: %s ms\n", options_.products, Spread(products_).c_str());
    for (const Line& line : lines) {
      std::printf("%-4s %3d buckets  alone %s ms  beside %s ms\n", NameOf(line.dtype),
                  static_cast<int>(line.buckets), Spread(line.alone).c_str(),
                  Spread(line.beside).c_str());
    }
  }

 private:
  Tensor RandomBf16(const std::vector<int64_t>& shape) const {
    const Tensor tensor = Tensor::Empty(*context_.allocator, DType::kBF16, shape);
    std::vector<uint16_t> bits(static_cast<size_t>(tensor.numel()));
    uint64_t state = 1;
    for (uint16_t& b : bits) {  // ±[0.5, 2): power, hence the clock, depends on the bits
      state = state * 6364136223846793005u + 1442695040888963407u;
      b = static_cast<uint16_t>((state >> 48) & 0x80ffu) | 0x3f00u;
    }
    CopyToDevice(context_.stream, bits.data(), tensor.Mutable("bench"));
    return tensor;
  }

  void Multiply() const {
    for (int i = 0; i < options_.products; ++i) {
      kernels::Gemm(context_.stream, x_, kernels::Transposed(w_.view()), y_.Mutable("bench"));
    }
  }

  // Calls for the sums, then `meanwhile`, then has the stream wait for them.
  void Sum(const View& data, int64_t buckets, const std::function<void()>& meanwhile) {
    std::vector<dist::Communicator::Work> works;
    for (int64_t b = 0; b < buckets; ++b) {
      works.push_back(communicator_.AllReduce(
          data.Slice(0, options_.numel * b / buckets, options_.numel * (b + 1) / buckets),
          dist::ReduceOp::kSum, context_.stream, "bench"));
    }
    meanwhile();
    for (const auto work : works) communicator_.Wait(work, context_.stream);
  }

  // Of the slowest rank.
  double Milliseconds(const std::function<void()>& body) {
    constexpr int kRepeat = 3;
    communicator_.Wait(communicator_.Barrier(Stream(), "bench"), Stream());
    const Stopwatch watch;
    for (int i = 0; i < kRepeat; ++i) body();
    Synchronize(context_.stream);
    const double mine = watch.Milliseconds() / kRepeat;
    return dist::AllReduceValue(communicator_, mine, dist::ReduceOp::kMax, "bench");
  }

  static std::string Spread(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    char text[64];
    std::snprintf(text, sizeof(text), "%6.3f [%6.3f .. %6.3f]", values[values.size() / 2],
                  values.front(), values.back());
    return text;
  }

  const AllReduceOptions options_;
  const Context context_;
  dist::Communicator& communicator_;
  const Tensor x_, w_, y_;
  std::vector<double> products_;
};

}  // namespace

absl::Status BenchAllReduce(const AllReduceOptions& options,
                            const std::vector<std::string>& command_line) {
  return RunOnRanks({DeviceType::kCUDA, options.nproc_per_node, options.max_channels}, command_line,
                    [&](const Context& context, dist::World& world) {
                      world.heartbeat().Report({"bench"});
                      Bench(options, context, world.communicator()).Run();
                      return absl::OkStatus();
                    });
}

}  // namespace lockstep
