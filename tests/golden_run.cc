#include "tests/golden_run.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "base/check.h"
#include "nn/host_tensor.h"
#include "nn/optim/adamw.h"
#include "tensor/kernels/fill.h"
#include "tensor/kernels/testing.h"

namespace lockstep {
namespace {

using autograd::Tape;
using autograd::Variable;

constexpr int kOverflowSlot = 0;

// max |got − want|, over the largest |want| if `relative`.
double Difference(const std::vector<double>& got, const std::vector<double>& want, bool relative) {
  CHECK_EQ(got.size(), want.size());
  double worst = 0, largest = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double difference = std::abs(got[i] - want[i]);
    if (!(difference <= worst)) worst = difference;  // NaN counts
    largest = std::max(largest, std::abs(want[i]));
  }
  // A gradient that is zero everywhere (a window of one key has none for q and k) is compared as it
  // is.
  return relative && largest > 0 ? worst / largest : worst;
}

class Run {
 public:
  Run(const Golden& golden, const GoldenRunOptions& options)
      : golden_(golden), options_(options), context_(TestContext(options.device)) {}

  Differences Measure() {
    Load(/*adapter=*/"");
    for (const GoldenDocument& document : golden_.documents) {
      Keep(out_.logits_base, Difference(Logits(document), document.logits_base, false));
    }
    Load(golden_.adapter);
    for (const GoldenDocument& document : golden_.documents) {
      Keep(out_.logits_adapter, Difference(Logits(document), document.logits_adapter, false));
    }
    Train();
    return out_;
  }

 private:
  static void Keep(double& worst, double difference) {
    if (!(difference <= worst)) worst = difference;
  }

  void Load(const std::string& adapter) {
    nn::ModelOptions options;
    options.directory = golden_.model;
    options.adapter = adapter;
    options.compute_dtype = options.base_dtype = options_.dtype;
    options.num_slots = 1;
    auto model = nn::Model::Load(context_, options);
    CHECK(model.ok()) << model.status();
    model_ = *std::move(model);
    if (options_.damage) options_.damage(*model_);
    nn::ModelConfig config = model_->config();
    if (options_.mutate) options_.mutate(config);
    decoder_ = std::make_unique<nn::Decoder>(config, model_->decoder().weights(), options_.dtype);
  }

  std::vector<double> Values(const Tensor& tensor) const { return ValuesOf(context_, tensor); }

  std::vector<double> Logits(const GoldenDocument& document) {
    const nn::PackedTokens pack = PackDocuments(context_, {document});
    Tape tape(context_, Tape::Mode::kForward);
    const Variable hidden = decoder_->Hidden(tape, pack);
    return Values(decoder_->Logits(tape, hidden, pack.positions));
  }

  void Train() {
    nn::AdamWOptions options;
    options.beta1 = golden_.beta1;
    options.beta2 = golden_.beta2;
    options.eps = golden_.eps;
    options.weight_decay = golden_.weight_decay;
    options.max_grad_norm = 0;
    nn::AdamW optimizer(context_, model_->parameters(), options, kOverflowSlot);
    std::vector<nn::PackedTokens> packs;
    if (options_.one_pack) {
      packs.push_back(PackDocuments(context_, golden_.documents, options_.row_multiple));
    } else {
      for (const auto& document : golden_.documents) {
        packs.push_back(PackDocuments(context_, {document}, options_.row_multiple));
      }
    }
    if (options_.reversed) std::reverse(packs.begin(), packs.end());
    for (size_t s = 0; s < golden_.history.size(); ++s) {
      const double loss = Step(packs);
      if (s == 0) CompareGradients();
      if (s + 1 == golden_.history.size()) CompareAdapter();
      optimizer.Step(context_, model_->parameters(), static_cast<int64_t>(s) + 1,
                     golden_.learning_rate);
      const GoldenRecord& want = golden_.history[s];
      Keep(out_.loss, std::abs(loss / want.loss - 1));
      Keep(out_.grad_norm, std::abs(Values(optimizer.norm_and_factor())[0] / want.grad_norm - 1));
    }
  }

  // Forward and backward of every pack; the gradient is left in the exact sums.
  double Step(const std::vector<nn::PackedTokens>& packs) {
    nn::FlatParameters& parameters = model_->parameters();
    parameters.ZeroSums(context_);
    double loss = 0;
    for (const nn::PackedTokens& pack : packs) {
      Tape tape(context_);
      nn::ForwardOptions forward;
      forward.checkpointing = options_.checkpointing;
      const Variable hidden = decoder_->Hidden(tape, pack, forward);
      const autograd::HeadNllResult nll =
          decoder_->NllSum(tape, hidden, pack, 1.0 / static_cast<double>(golden_.num_supervised));
      loss += Values(nll.nll_sum)[0] / static_cast<double>(golden_.num_supervised);
      const Tensor one = Tensor::Empty(*context_.allocator, DType::kF64, {1});
      kernels::Fill(context_.stream, one.Mutable("seed"), 1.0);
      tape.Backward({nll.loss}, {one}, [&](const Variable& leaf) {
        const int i = parameters.IndexOf(leaf);
        parameters.AddToSums(context_, i, i + 1, static_cast<int64_t>(packs.size()), kOverflowSlot);
      });
    }
    return loss;
  }

  void CompareGradients() {
    const nn::FlatParameters& parameters = model_->parameters();
    CHECK_EQ(golden_.gradients.size(), parameters.parameters().size());
    for (int i = 0; i < parameters.num_parameters(); ++i) {
      std::vector<double> got = Values(parameters.Part(parameters.sums(), i));
      for (double& g : got) g *= 0x1p-50;
      const std::string name = "base_model.model." + parameters.parameters()[i].spec.name;
      const double difference = Difference(got, golden_.gradients.at(name), true);
      if (!(difference <= out_.gradient)) out_.gradient_of = name;
      Keep(out_.gradient, difference);
    }
  }

  void CompareAdapter() {
    const nn::FlatParameters& parameters = model_->parameters();
    for (int i = 0; i < parameters.num_parameters(); ++i) {
      const std::string name = "base_model.model." + parameters.parameters()[i].spec.name;
      Keep(out_.final_adapter, Difference(Values(parameters.Part(parameters.values(), i)),
                                          golden_.final_adapter.at(name), true));
    }
  }

  const Golden& golden_;
  const GoldenRunOptions& options_;
  const Context context_;
  std::unique_ptr<nn::Model> model_;
  std::unique_ptr<nn::Decoder> decoder_;
  Differences out_;
};

}  // namespace

bool Meets(const Differences& d, const Tolerance& t) {
  return d.logits_base <= t.logits && d.logits_adapter <= t.logits && d.loss <= t.loss &&
         d.grad_norm <= t.grad_norm && d.gradient <= t.gradient &&
         d.final_adapter <= t.final_adapter;
}

std::string Show(const Differences& d) {
  return absl::StrFormat(
      "logits %.1e %.1e | loss %.1e | norm %.1e | gradient %.1e (%s) | adapter %.1e", d.logits_base,
      d.logits_adapter, d.loss, d.grad_norm, d.gradient, d.gradient_of, d.final_adapter);
}

Differences RelativeLogits(const Golden& golden, Differences differences) {
  double largest = 0;
  for (const GoldenDocument& document : golden.documents) {
    for (const double logit : document.logits_base) largest = std::max(largest, std::abs(logit));
  }
  differences.logits_base /= largest;
  differences.logits_adapter /= largest;
  return differences;
}

Context TestContext(DeviceType device) {
  return device == DeviceType::kCPU ? kernels::CpuContext() : *kernels::GpuContext();
}

std::vector<double> ValuesOf(const Context& context, const Tensor& tensor) {
  if (context.device().type == DeviceType::kCPU) return kernels::ToVector(tensor);
  return kernels::ToVector(kernels::ToCpu(tensor));
}

nn::PackedTokens PackDocuments(const Context& context, const std::vector<GoldenDocument>& documents,
                               int64_t row_multiple) {
  std::vector<int32_t> ids, positions, starts = {0}, rows, targets;
  std::vector<int64_t> keys;
  for (size_t d = 0; d < documents.size(); ++d) {
    const GoldenDocument& document = documents[d];
    for (size_t i = 0; i < document.input_ids.size(); ++i) {
      if (i > 0 && document.labels[i] >= 0) {
        rows.push_back(static_cast<int32_t>(ids.size()) - 1);
        targets.push_back(document.labels[i]);
      }
      ids.push_back(document.input_ids[i]);
      positions.push_back(static_cast<int32_t>(i));
      keys.push_back(static_cast<int64_t>(d << 32 | i));
    }
    starts.push_back(static_cast<int32_t>(ids.size()));
  }
  return nn::ToDevice(context, {ids, positions, starts, rows, targets, keys}, row_multiple);
}

Differences RunGolden(const Golden& golden, const GoldenRunOptions& options) {
  return Run(golden, options).Measure();
}

}  // namespace lockstep
