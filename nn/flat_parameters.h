// All trainable parameters in one buffer, their gradients in a second one with the same offsets,
// AdamW's moments in two more.
//
//   values, exp_avg, exp_avg_sq   [numel]              f32 (f64 in tests)
//   scratch                       [numel]              one pack's gradient, which backward writes
//   sums                          [numel + num_slots]  the step's gradient: exact int64 fixed point
//                                                      or f32; behind it small values that are
//                                                      all-reduced together with it
//   image                         [numel]              what products read: values themselves, or
//                                                      their bf16 copy where they compute in bf16
//
// Norm, clipping, AdamW, all-reduce and checkpoints are passes over flat memory; a bucket of the
// all-reduce is a range of `sums`. Elements between parameters (alignment) are zero for ever.
// Checkpoints go by name, never by offset.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "autograd/variable.h"
#include "tensor/context.h"
#include "tensor/tensor.h"

namespace lockstep::nn {

struct ParameterSpec {
  std::string name;  // e.g. "model.layers.0.self_attn.q_proj.lora_A"
  std::vector<int64_t> shape;
  bool decays = true;                // weight decay applies (not to norms and biases)
  double learning_rate_ratio = 1.0;  // LoRA+: of lora_B to the run's rate
  bool full_precision = false;       // read from values, not from the image (DoRA's magnitudes)
};

struct Parameter {
  ParameterSpec spec;
  int64_t offset = 0;  // elements, from the start of every buffer
  int64_t numel = 0;
};

// Where each parameter lies: in the given order, each start at a multiple of 128 elements, so
// aligned to 256 bytes in every buffer, bf16 included. A pure function.
std::vector<Parameter> PlanFlatLayout(std::vector<ParameterSpec> specs);

class FlatParameters {
 public:
  struct Options {
    DType dtype = DType::kF32;        // of values, scratch and moments
    DType image_dtype = DType::kF32;  // what products compute in; bf16 keeps a second copy
    DType sum_dtype = DType::kI64;    // kI64: exact; kF32 (kF64 with f64 values): plain sums
    int num_slots = 0;
    bool training = true;  // false: values alone, without gradients and moments
  };

  // `specs` in the order in which backward makes gradients final. Buffers start as zeros.
  FlatParameters(const Context& context, std::vector<ParameterSpec> specs, const Options& options);

  int64_t numel() const { return numel_; }  // of the flat buffers, alignment included
  int64_t num_trainable() const;            // without it
  int num_parameters() const { return static_cast<int>(parameters_.size()); }
  absl::Span<const Parameter> parameters() const { return parameters_; }
  const Options& options() const { return options_; }

  // -1 if there is none of this name.
  int IndexOf(absl::string_view name) const;
  // Of a leaf that leaf() returned.
  int IndexOf(const autograd::Variable& leaf) const { return IndexOf(leaf.name()); }

  // The parameter as autograd sees it: value from the image, gradient into scratch. A frozen
  // variable if not training.
  const autograd::Variable& leaf(int index) const { return leaves_[index]; }

  const Tensor& values() const { return values_; }
  const Tensor& image() const { return image_; }
  const Tensor& scratch() const { return scratch_; }
  const Tensor& sums() const { return sums_; }
  Tensor slots() const { return sums_.Slice(0, numel_, numel_ + options_.num_slots); }
  const Tensor& exp_avg() const { return exp_avg_; }
  const Tensor& exp_avg_sq() const { return exp_avg_sq_; }
  // What the next step depends on: values and moments.
  std::vector<Tensor> state() const { return {values_, exp_avg_, exp_avg_sq_}; }

  // Parameter `index`'s part of one of the buffers above, in its shape.
  Tensor Part(const Tensor& buffer, int index) const;

  // The step begins: sums and slots are zero. Or some of them are, elements [begin, end).
  void ZeroSums(const Context& context) { ZeroSums(context, 0, sums_.numel()); }
  void ZeroSums(const Context& context, int64_t begin, int64_t end);

  // Adds one pack's gradients of parameters [first, end) from scratch to sums, in one pass. Exact
  // sums round values as tensor/kernels/fixed_point.h says; one that is not finite or exceeds the
  // fair share of the int64 range, (2^63 - 1) / packs_in_step, counts in slot `overflow_slot` and
  // adds nothing.
  void AddToSums(const Context& context, int first, int end, int64_t packs_in_step,
                 int overflow_slot);

  // Where ranks share the update, the weights of the others come beside the next forward pass, the
  // last parameters first: forward reads them in that order. Whoever reads the image asks for them
  // before; what is then queued finds it whole from parameter `first` on. Values of which it is a
  // copy do not come by this (trainer/step/data_parallel.h).
  void Await(int first = 0) const;
  // How elements [offset, numel()) are awaited; null: they are all there.
  void SetAwait(std::function<void(int64_t offset)> await) { await_ = std::move(await); }

  // Values were written from outside (loading, initialization): brings the image up to date.
  void RefreshImage(const Context& context);

 private:
  std::vector<Parameter> parameters_;
  absl::flat_hash_map<std::string, int> index_;
  Options options_;
  int64_t numel_ = 0;
  Tensor values_, image_, scratch_, sums_, exp_avg_, exp_avg_sq_;
  std::vector<autograd::Variable> leaves_;
  std::function<void(int64_t offset)> await_;
};

// Of weights that are read together: before that they are awaited.
struct Arrival {
  const FlatParameters* parameters = nullptr;  // null: none of them is trained
  int first = 0;                               // the first parameter among them

  void Await() const {
    if (parameters != nullptr) parameters->Await(first);
  }
};

}  // namespace lockstep::nn
