// The arithmetic of a linear layer with LoRA adapters, without a tape: what linear_lora and
// head_nll have in common. Equations, shapes and names: linear_lora.h.
#pragma once

#include <optional>
#include <vector>

#include "autograd/ops/lora_layer.h"
#include "autograd/tape.h"
#include "tensor/context.h"
#include "tensor/kernels/dropped_lora.h"
#include "tensor/kernels/lora_share.h"
#include "tensor/kernels/normed_product.h"
#include "tensor/tensor.h"

namespace lockstep::autograd {

class LoraLinear {
 public:
  // Reads the variables' values, which must outlive it. Checks that the parts fit together.
  LoraLinear(const LoraLayer& layer, const LoraDropout& dropout);

  // W, bias, A_0, B_0, A_1, …: the order of Targets::weights.
  static std::vector<Variable> Weights(const LoraLayer& layer);
  int num_weights() const { return 2 + 2 * static_cast<int>(adapters_.size()); }

  int64_t inputs() const { return w_.inputs(); }
  int64_t outputs() const { return w_.outputs(); }
  int64_t total_rank() const { return total_rank_; }
  int num_adapters() const { return static_cast<int>(adapters_.size()); }
  bool BackwardReadsX() const { return trains_w_ || trains_a_; }
  bool BackwardReadsH() const { return trains_b_; }

  // What the functions below want to know as `drops`, of inputs of this type: the adapters' masks,
  // where kernels read them (dropped_lora.h), else token_keys, by which dropout is drawn each time.
  Tensor Drops(const Context& context, DType dtype, const Tensor& token_keys) const;
  // The adapters' masks (dropout_mask.h) of T tokens, each behind the one before:
  // [adapters · T, ·]. Undefined without dropout or adapters.
  Tensor Masks(const Context& context, const Tensor& token_keys) const;

  // The two parts of forward: h [T, total_rank]; and y [T, N] = x Wᵀ + bias with LoRA's shares,
  // y[:, range_i] += scale_i · h_i B_iᵀ, or without them where h is empty. Shares are written first
  // and the wide product adds to them. A share that joined what reads y beside it would break ties
  // between bf16 numbers; docs/numerics.md, "The first updates in bf16", says what is rounded.
  void ForwardOfH(const Context& context, const View& x, const Tensor& drops, const View& h) const;
  void ForwardOfY(const Context& context, const View& x, const View& h, const View& y) const;

  // What the layer has read, for backward: x, or the norm that x was, which TakesNorm() allows.
  struct Input {
    Tensor x;
    kernels::NormedMatrix norm = {};
    Input(Tensor x) : x(std::move(x)) {}                      // NOLINT(runtime/explicit)
    Input(const kernels::NormedMatrix& norm) : norm(norm) {}  // NOLINT(runtime/explicit)
  };
  // Where gradients go; undefined ones are not computed.
  struct Targets {
    Tensor dx;                        // [T, C], overwritten
    std::vector<LeafTarget> weights;  // in the order of Weights()
    Tensor dh = {};  // g, if a kernel has computed it and every dB along with dy; else undefined
  };
  // Those of an op whose inputs from `first_input` on are Weights(); without dx.
  Targets TargetsOf(Gradients& g, int first_input) const;
  // Whether all that backward wants of x is dA, which a kernel computes from the norm's input.
  bool TakesNorm(DType dtype, const Targets& targets) const;
  // x and h may be undefined where BackwardReadsX and BackwardReadsH say so.
  void Backward(const Context& context, const Input& x, const Tensor& h, const Tensor& drops,
                const Tensor& dy, const Targets& targets) const;
  // The parts of Backward. g_i = scale_i · dy_i B_i, [T, total rank], if it is wanted, and every
  // dB_i = scale_i · dy_iᵀ h_i.
  Tensor BackwardOfShares(const Context& context, const View& h, const Tensor& dy,
                          const Targets& targets, bool wants_g) const;
  void BackwardOfA(const Context& context, const View& g, const Input& x, const Tensor& drops,
                   const Targets& targets) const;

  // LoRA's share of outputs [first, first + count), and of the gradient of all inputs, for a kernel
  // that adds it, on the inputs' side behind dropout: where one adapter reaches all of them, or
  // none any, of a rank that kernels take. Nothing in it where none does. h and g may be empty.
  bool HasOneShareOfOutputs(int64_t first, int64_t count) const;
  kernels::LoraShare ShareOfOutputs(const View& h, int64_t first, int64_t count) const;
  bool HasOneShareOfInputs() const;
  kernels::LoraShare ShareOfInputs(const View& g) const;
  // Where a kernel that computes the gradient of outputs [first, first + count) leaves g and dB of
  // their adapter: views of dh [T, total rank] and of the targets. Nothing in it where no adapter
  // reaches them; nullopt where one reaches others as well.
  std::optional<kernels::LoraShareGradient> GradientOfShare(const View& dh, int64_t first,
                                                            int64_t count,
                                                            const Targets& targets) const;
  const WideMatrix& base() const { return w_; }
  double dropout() const { return p_; }

 private:
  struct Adapter {
    View a, b;
    double scale;
    int64_t first;
    uint64_t dropout_key;
    int64_t column;  // where its part of h starts
    int64_t rank() const { return a.shape[0]; }
    int64_t end() const { return first + b.shape[0]; }
    bool Reaches(int64_t begin, int64_t count) const {
      return first < begin + count && end() > begin;
    }
    bool Covers(int64_t begin, int64_t count) const {
      return first <= begin && end() >= begin + count;
    }
  };
  // Adapters [begin, end) whose A follow each other in memory, as one matrix.
  struct Group {
    size_t begin, end;
    View a;
    int64_t column;
  };

  std::vector<Group> Groups() const;
  View DropoutOf(const Context& context, const Group& group, const View& x, const Tensor& drops,
                 Tensor& memory) const;
  // Whether kernels drop by masks; and what they want of each adapter, h being all of h or g.
  bool TakesMasks(DType dtype) const;
  std::vector<kernels::DroppedPart> DroppedParts(const View& h, const Tensor& drops) const;
  std::optional<View> JoinedTarget(const Group& group, const Targets& targets) const;
  void BackwardOfGroup(const Context& context, const Group& group, const View& g, const View& x,
                       const Targets& targets) const;
  bool SharesOfY(const Context& context, const View& h, const View& y) const;
  void BackwardOfX(const Context& context, const View& g, const Tensor& drops, const View& dy,
                   const Tensor& dx) const;
  bool SharesOfX(const Context& context, const View& g, const Tensor& drops, const View& dx) const;

  WideMatrix w_;
  View bias_;
  std::vector<Adapter> adapters_;
  double p_;
  int64_t total_rank_ = 0;
  bool trains_w_ = false, trains_a_ = false, trains_b_ = false;
};

}  // namespace lockstep::autograd
