// Tape: records ops as they run, then differentiates them in reverse order.
//
// One tape serves one pack: forward, Backward, gone. An op is a free function that computes its
// outputs at once and calls Record with a closure for its backward pass:
//
//   Variable Scale(Tape& tape, const Variable& x, double s) {
//     Tensor y = Tensor::Empty(*tape.context().allocator, x.value().dtype(), …);
//     kernels::Scale(tape.context().stream, x.value(), s, y);
//     return tape.Record("scale", {x}, {y}, /*saved=*/{}, [s](Gradients& g) {
//       Tensor dx = g.NewLike(0);
//       kernels::Scale(g.context().stream, g.output(0), s, dx);
//       g.Add(0, dx);
//     });
//   }
//
// Rules that make gradients right:
//   * What backward needs besides gradients is handed over as `saved`, inputs included: the tape
//     keeps no value by itself (but leaves and frozen weights, which outlive it: g.input(i)). It is
//     an error, which names both ops, if someone modified a saved tensor in place in between.
//   * Nothing is recorded, and nothing saved, where no input needs a gradient.
//   * Gradients that reach a variable from several ops are added in the reverse order of recording,
//     so bits do not depend on anything but the program.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "autograd/variable.h"
#include "tensor/context.h"
#include "tensor/parking.h"

namespace lockstep::autograd {

class Gradients;

// One op's backward pass: reads gradients of outputs, hands in gradients of inputs.
using BackwardFn = std::function<void(Gradients&)>;

// Where the gradient of a leaf is to be written.
struct LeafTarget {
  Tensor grad;      // the leaf's own memory
  bool accumulate;  // false: overwrite (=), it holds an older pack's gradient; true: add to it (+=)
};

class Tape {
 public:
  enum class Mode {
    kRecord,   // keep what Backward needs
    kForward,  // forget everything at once: evaluation, generation, the first pass of a checkpoint
  };

  explicit Tape(const Context& context, Mode mode = Mode::kRecord);
  ~Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  const Context& context() const { return context_; }

  // Makes `outputs` variables. They need a gradient if one of `inputs` (undefined ones are allowed)
  // does; then `backward` is kept with `saved` until Backward. `op` is a string literal.
  std::vector<Variable> Record(const char* op, absl::Span<const Variable> inputs,
                               absl::Span<const Tensor> outputs, absl::Span<const Tensor> saved,
                               BackwardFn backward);
  Variable Record(const char* op, std::initializer_list<Variable> inputs, Tensor output,
                  std::initializer_list<Tensor> saved, BackwardFn backward);

  // Whether an op with these inputs would be recorded: an op may skip work that only backward
  // needs.
  bool WouldRecord(absl::Span<const Variable> inputs) const;

  // Declares that `op` has modified `x`, an activation, in place (through x.value().Mutable(op)): x
  // goes on as the variable that is returned, with the same memory, and using the old one is an
  // error. Input 0 of the backward pass is x, inputs 1, 2, … are `others` (weights, say); it may
  // work in place as well (Gradients::TakeOutput).
  Variable RecordInPlace(const char* op, const Variable& x, absl::Span<const Variable> others,
                         absl::Span<const Tensor> saved, BackwardFn backward);

  // Runs `segment` keeping only its inputs; Backward runs it again to differentiate it, so its
  // activations exist once in forward and once in backward, never in between. `segment` must be a
  // pure function of its inputs and of leaves. With `parking`, inputs that are activations wait
  // there; it outlives the tape.
  using Segment = std::function<std::vector<Variable>(Tape&, absl::Span<const Variable>)>;
  std::vector<Variable> Checkpoint(const char* name, absl::Span<const Variable> inputs,
                                   Segment segment, Parking* parking = nullptr);

  // What an op of a segment computes, where that takes longer than to keep it: the segment's first
  // run keeps what `compute` returns, its second takes it back. `large` waits in the segment's
  // parking. Either may be undefined. Elsewhere: what `compute` returns.
  struct Computed {
    Tensor large, small;
  };
  Computed ComputeOnce(absl::FunctionRef<Computed()> compute);

  // Whether this tape runs a segment again. The values of the segment's outputs are then known to
  // everybody who reads them: an op that computes one may leave its memory as it is.
  bool rerunning() const { return rerunning_; }

  // Called once in a Backward for each leaf the tape has used, when its gradient is final.
  using LeafHook = std::function<void(const Variable& leaf)>;

  // Differentiates sum over i of <output_i, seed_i>: `outputs` and `seeds` pairwise of the same
  // shape. Everything saved is released on the way. Once per tape.
  void Backward(absl::Span<const Variable> outputs, absl::Span<const Tensor> seeds,
                const LeafHook& on_leaf_final);

  // What Backward has left in the gradient of `variable`, an activation without a producer on this
  // tape (made by Input): undefined if nothing reached it.
  static Tensor GradientOf(const Variable& variable);

  // An activation from outside that wants a gradient: the start of a chain, in tests and segments.
  static Variable Input(Tensor value);

 private:
  friend class Gradients;
  struct Entry;
  struct Kept;
  struct LeafUses;

  std::vector<Variable> Append(const char* op, absl::Span<const Variable> inputs,
                               absl::Span<const Tensor> outputs, absl::Span<const Tensor> saved,
                               BackwardFn backward);
  // Backward of a checkpoint: runs the segment again, on a tape of its own, and differentiates it.
  // `parked`: by input, where it waits; null for those that the entry has saved.
  using ParkedInputs = std::vector<std::shared_ptr<Parking::Place>>;
  void Rerun(const Segment& segment, const ParkedInputs& parked, const std::shared_ptr<Kept>& kept,
             Gradients& g);
  void CountUses(absl::Span<const Variable> inputs);
  void FinishUse(const Variable& leaf);
  void Seed(absl::Span<const Variable> outputs, absl::Span<const Tensor> seeds);
  void Run();
  void RunEntry(Entry& entry);

  Context context_;
  Mode mode_;
  std::vector<std::unique_ptr<Entry>> entries_;
  // Open uses of leaves, shared with the tapes that rerun this tape's segments.
  std::shared_ptr<LeafUses> uses_;
  // False while a segment is rerun: its uses were counted in forward.
  bool counts_uses_ = true;
  bool rerunning_ = false;
  std::shared_ptr<Kept> kept_;  // of the segment that this tape runs; null: there is none
  // One element for each use of a leaf on this tape, segments included.
  std::vector<Variable> leaves_used_;
};

// What a BackwardFn sees. Indices are those given to Record.
class Gradients {
 public:
  const Context& context() const { return tape_.context(); }

  // The gradient of output i. Undefined if nothing used that output.
  const Tensor& output(int i) const { return output_grads_[i]; }
  // The same, handed over: the op may overwrite it, e.g. to return it as the gradient of an input.
  // Only gradients whose memory is unique() may be overwritten.
  Tensor TakeOutput(int i) { return std::move(output_grads_[i]); }

  const Tensor& saved(int i) const;
  const Tensor& input(int i) const;  // the value of a leaf or frozen weight
  bool Needs(int i) const;           // whether input i wants a gradient

  // A fresh tensor with input i's shape and dtype, contents undefined.
  Tensor NewLike(int i) const;
  Tensor New(DType dtype, std::initializer_list<int64_t> shape) const;

  // Hands in the gradient of input i, an activation. The tape keeps the tensor; several may come.
  void Add(int i, Tensor grad);

  // For input i, a leaf that Needs a gradient: where to write it. To be asked once per op and
  // input.
  LeafTarget Target(int i);

 private:
  friend class Tape;
  Gradients(Tape& tape, Tape::Entry& entry, std::vector<Tensor> output_grads)
      : tape_(tape), entry_(entry), output_grads_(std::move(output_grads)) {}
  Tape& tape_;
  Tape::Entry& entry_;
  std::vector<Tensor> output_grads_;
};

}  // namespace lockstep::autograd
