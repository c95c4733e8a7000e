// What no step can be faster than: its wide products (forward, and gradient of the input) and its
// attention (forward, deterministic backward), and nothing else. The same calls as the step's, with
// the model's weights and its shapes and layouts of operands, in its order, on random activations.
// In FP8 a product holds the quantizing of what it reads.
//
// It leaves out what the step may do beside them (norms, LoRA, loss, optimizer, computing again
// under checkpointing) and what a LoRA step does not need: the input's gradient of the first layer.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "nn/decoder.h"
#include "nn/packed_tokens.h"
#include "tensor/context.h"

namespace lockstep {

class Ceiling {
 public:
  // One kind of call, made several times a step.
  struct Part {
    std::string name;
    double flops = 0;                          // of all calls
    std::vector<std::function<void()>> calls;  // queued, not awaited
  };

  // Decoder and pack outlive it. `score_bytes`: as in nn::ForwardOptions.
  Ceiling(const Context& context, const nn::Decoder& decoder, const nn::PackedTokens& pack,
          int64_t score_bytes);
  Ceiling(const Ceiling&) = delete;

  // All calls of a step; queued, not awaited.
  void Run() const;

  const std::vector<Part>& parts() const { return parts_; }

 private:
  void AllocateOperands();
  void AddProduct(const std::string& name, const Tensor& x, const nn::LinearWeights& of,
                  const Tensor& y);
  void AddGradient(const std::string& name, const nn::LinearWeights& of, int64_t rows);
  void AddAttention(int layer);
  void AddAttentionGradient(int layer);
  void AddHead();
  void Add(const std::string& name, double flops, std::function<void()> call);

  // [rows, columns] of the random values and of what nobody reads.
  Tensor Random(int64_t rows, int64_t columns) const;
  Tensor Sink(int64_t rows, int64_t columns) const;

  const Context context_;
  const nn::Decoder& decoder_;
  const nn::PackedTokens& pack_;
  const nn::ForwardOptions forward_;
  Tensor random_, sink_;                   // flat, as large as the largest operand
  Tensor qkv_, mixed_, lse_;               // of the layer that ran last
  Tensor forward_bytes_, backward_bytes_;  // attention's workspaces
  std::vector<Part> parts_;
  std::vector<std::pair<size_t, size_t>> order_;  // of a step: part and call
};

}  // namespace lockstep
