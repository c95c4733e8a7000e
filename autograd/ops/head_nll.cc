#include "autograd/ops/head_nll.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "autograd/ops/lora_product.h"
#include "base/check.h"
#include "tensor/kernels/cross_entropy.h"
#include "tensor/kernels/dora.h"
#include "tensor/kernels/embedding.h"
#include "tensor/kernels/fill.h"
#include "tensor/kernels/scale.h"
#include "tensor/kernels/softcap.h"
#include "tensor/kernels/sum.h"

namespace lockstep::autograd {
namespace {

Tensor Gather(const Context& context, const Tensor& x, const Tensor& rows) {
  const Tensor y =
      Tensor::Empty(*context.allocator, x.dtype(), {rows.dim(0), x.rank() == 1 ? 1 : x.dim(1)});
  const Tensor table = x.rank() == 1 ? x.Reshape({x.dim(0), 1}) : x;
  kernels::Embedding(context.stream, rows, table, 1, y);
  return x.rank() == 1 ? y.Reshape({rows.dim(0)}) : y;
}

// The pass through some rows: what exists only while they are computed.
struct Chunk {
  Tensor rows;       // [R]
  Tensor drops;      // LoraLinear::Drops
  Tensor x;          // [R, C]
  Tensor logits, h;  // [R, V], [R, total rank]
};

// DoRA's factor for each logit; nothing where there is no magnitude.
struct Magnitude {
  Tensor m, norm;  // [V]

  Magnitude(const Context& context, const HeadWeights& head) {
    if (!head.magnitude.defined()) return;
    CHECK(head.layer.adapters.size() == 1 && !head.layer.bias.defined() && head.dropout.p == 0)
        << "[head_nll] DoRA wants one adapter, no bias and no dropout";
    const LoraAdapter& adapter = head.layer.adapters[0];
    const View& w = head.layer.w.value();
    const int64_t vocab = w.shape[0];
    m = head.magnitude.value();
    norm = Tensor::Empty(*context.allocator, m.dtype(), {vocab});
    kernels::DoraNorm(context.stream, w, adapter.a.value(), adapter.b.value(), adapter.scale,
                      norm.Mutable("head_nll"));
  }
  bool defined() const { return m.defined(); }
  Tensor Scaled(const Context& context, const Tensor& logits) const {
    const Tensor out =
        Tensor::Empty(*context.allocator, logits.dtype(), {logits.dim(0), logits.dim(1)});
    kernels::DoraForward(context.stream, logits, m, norm, View{}, out.Mutable("head_nll"));
    return out;
  }
};

Chunk ComputeLogits(const Context& context, const LoraLinear& layer, const Tensor& x,
                    const Tensor& rows, const LoraDropout& dropout) {
  Chunk chunk;
  chunk.rows = rows;
  if (dropout.p > 0) {
    chunk.drops = layer.Drops(context, x.dtype(), Gather(context, dropout.token_keys, rows));
  }
  chunk.x = Gather(context, x, rows);
  const int64_t count = rows.dim(0);
  chunk.logits = Tensor::Empty(*context.allocator, x.dtype(), {count, layer.outputs()});
  chunk.h = Tensor::Empty(*context.allocator, x.dtype(), {count, layer.total_rank()});
  layer.ForwardOfH(context, chunk.x, chunk.drops, chunk.h);
  layer.ForwardOfY(context, chunk.x, chunk.h, chunk.logits.Mutable("head_nll"));
  return chunk;
}

// The gradients by x and the weights, summed over chunks; undefined where nobody wants one.
struct HeadGradients {
  Tensor dx;
  std::vector<LeafTarget> weights;  // in the order of LoraLinear::Weights, then the magnitude

  HeadGradients(const Context& context, const Variable& x, absl::Span<const Variable> of_weights) {
    const auto zeros = [&](DType dtype, const View& like) {
      const Tensor grad =
          Tensor::Empty(*context.allocator, dtype, absl::MakeConstSpan(like.shape, like.rank));
      kernels::Fill(context.stream, grad, 0.0);
      return grad;
    };
    if (x.needs_grad()) dx = zeros(x.value().dtype(), x.value());
    for (const Variable& w : of_weights) {
      weights.push_back(
          {w.defined() && w.needs_grad() ? zeros(w.leaf_grad().dtype(), w.value()) : Tensor(),
           /*accumulate=*/true});
    }
  }

  // `dlogits` holds the gradient by the logits; overwritten.
  void Add(const Context& context, const LoraLinear& layer, const Magnitude& magnitude,
           const Chunk& chunk, const Tensor& dlogits) {
    if (magnitude.defined()) {
      kernels::DoraBackward(context.stream, dlogits, chunk.logits, magnitude.m, magnitude.norm,
                            dlogits.Mutable("head_nll"), /*accumulate=*/true,
                            weights.back().grad.defined() ? weights.back().grad.view() : View{});
    }
    const auto of_layer = weights.begin() + layer.num_weights();
    LoraLinear::Targets targets = {Tensor(), {weights.begin(), of_layer}};
    if (dx.defined()) {
      targets.dx = Tensor::Empty(*context.allocator, dx.dtype(), {chunk.x.dim(0), dx.dim(1)});
    }
    layer.Backward(context, chunk.x, chunk.h, chunk.drops, dlogits, targets);
    if (dx.defined()) {
      kernels::EmbeddingBackward(context.stream, chunk.rows, targets.dx, 1, /*accumulate=*/true,
                                 dx.Mutable("head_nll"));
    }
  }

  void HandIn(Gradients& g) {
    const Tensor& seed = g.output(0);
    if (dx.defined()) {
      kernels::Scale(g.context().stream, dx, seed, false, dx.Mutable("head_nll"));
      g.Add(0, std::move(dx));
    }
    for (size_t i = 0; i < weights.size(); ++i) {
      if (!weights[i].grad.defined()) continue;
      const LeafTarget target = g.Target(1 + static_cast<int>(i));
      kernels::Scale(g.context().stream, weights[i].grad, seed, target.accumulate, target.grad);
      weights[i].grad = Tensor();
    }
  }
};

}  // namespace

int64_t HeadChunkRows(int64_t vocab, int64_t max_logits) {
  constexpr int64_t kTile = 128;
  const int64_t rows = std::max<int64_t>(1, max_logits / vocab);
  return rows < kTile ? rows : rows / kTile * kTile;
}

HeadNllResult HeadNll(Tape& tape, const Variable& x, const Tensor& target_rows,
                      const Tensor& targets, const HeadWeights& head,
                      const HeadNllOptions& options) {
  const Context& context = tape.context();
  const LoraLinear layer(head.layer, head.dropout);
  const Magnitude magnitude(context, head);
  std::vector<Variable> weights = LoraLinear::Weights(head.layer);
  weights.push_back(head.magnitude);
  std::vector<Variable> inputs = {x};
  inputs.insert(inputs.end(), weights.begin(), weights.end());
  const bool differentiate = tape.WouldRecord(inputs);
  std::vector<HeadGradients> gradients;  // one, or none
  if (differentiate) gradients.emplace_back(context, x, weights);

  const int64_t count = target_rows.dim(0);
  const Tensor nll = Tensor::Empty(*context.allocator, DType::kF64, {count});
  const int64_t chunk_rows = HeadChunkRows(layer.outputs(), options.max_logits);
  for (int64_t begin = 0; begin < count; begin += chunk_rows) {
    const int64_t end = std::min(begin + chunk_rows, count);
    const Chunk chunk =
        ComputeLogits(context, layer, x.value(), target_rows.Slice(0, begin, end), head.dropout);
    const Tensor logits =
        magnitude.defined() ? magnitude.Scaled(context, chunk.logits) : chunk.logits;
    kernels::CrossEntropy(
        context.stream, logits.Mutable("head_nll"), targets.Slice(0, begin, end),
        nll.Slice(0, begin, end),
        {.softcap = options.softcap, .grad_scale = options.grad_scale, .gradient = differentiate});
    if (differentiate) gradients[0].Add(context, layer, magnitude, chunk, logits);
  }

  const Tensor nll_sum = Tensor::Empty(*context.allocator, DType::kF64, {1});
  const Tensor loss = Tensor::Empty(*context.allocator, DType::kF64, {1});
  kernels::Sum(context.stream, nll, 1, nll_sum);
  kernels::Sum(context.stream, nll, options.grad_scale, loss);
  const Variable result = tape.Record(
      "head_nll", inputs, {loss}, {},
      [gradients = std::move(gradients)](Gradients& g) mutable { gradients[0].HandIn(g); })[0];
  return {result, nll_sum, nll};
}

Tensor HeadLogits(Tape& tape, const Variable& x, const Tensor& rows, const HeadWeights& head,
                  double softcap) {
  const Context& context = tape.context();
  const LoraLinear layer(head.layer, head.dropout);
  const Magnitude magnitude(context, head);
  Tensor logits = ComputeLogits(context, layer, x.value(), rows, head.dropout).logits;
  if (magnitude.defined()) logits = magnitude.Scaled(context, logits);
  if (softcap > 0) {
    kernels::Softcap(context.stream, logits, softcap, logits.Mutable("head_logits"));
  }
  return logits;
}

}  // namespace lockstep::autograd
