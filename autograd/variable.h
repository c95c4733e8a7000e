// Variable: a tensor that a tape can differentiate through.
//
// Three kinds:
//   * Variable::Frozen(w): a weight that is only read: no gradient, no memory for one, no work;
//   * Variable::Leaf(name, w, grad): a parameter: its gradient is written into `grad`, memory that
//     the caller owns (a range of the flat gradient scratch);
//   * what ops return: an activation: its gradient lives from when it is complete until the op that
//     made the activation has used it.
// Copies share the value. Leaves and frozen weights outlive tapes; activations belong to one tape.
#pragma once

#include <memory>
#include <string>

#include "tensor/tensor.h"

namespace lockstep::autograd {

class Tape;

class Variable {
 public:
  Variable() = default;  // undefined, e.g. "no bias"

  static Variable Frozen(Tensor value);
  // `grad` has value's shape, and the dtype in which gradients are summed.
  static Variable Leaf(std::string name, Tensor value, Tensor grad);

  bool defined() const { return node_ != nullptr; }
  const Tensor& value() const;
  bool needs_grad() const;
  bool is_leaf() const;
  bool is_activation() const;
  const std::string& name() const;  // of a leaf; "" otherwise
  const Tensor& leaf_grad() const;  // of a leaf

  // True for copies of the same variable.
  friend bool operator==(const Variable& a, const Variable& b) { return a.node_ == b.node_; }
  // An identity for maps: equal for copies, stable as long as one of them lives.
  const void* id() const { return node_.get(); }

 private:
  friend class Tape;
  struct Node;
  std::shared_ptr<Node> node_;
};

}  // namespace lockstep::autograd
