#include "autograd/variable.h"

#include <utility>

#include "autograd/node.h"
#include "base/check.h"

namespace lockstep::autograd {

Variable Variable::Frozen(Tensor value) {
  Variable variable;
  variable.node_ = std::make_shared<Node>();
  variable.node_->kind = Node::Kind::kFrozen;
  variable.node_->value = std::move(value);
  return variable;
}

Variable Variable::Leaf(std::string name, Tensor value, Tensor grad) {
  CHECK_EQ(value.numel(), grad.numel())
      << "[" << name << "] value " << Describe(value) << ", gradient " << Describe(grad);
  Variable variable;
  variable.node_ = std::make_shared<Node>();
  variable.node_->kind = Node::Kind::kLeaf;
  variable.node_->value = std::move(value);
  variable.node_->name = std::move(name);
  variable.node_->leaf_grad = std::move(grad);
  return variable;
}

const Tensor& Variable::value() const {
  CHECK(defined()) << "[variable] undefined";
  return node_->value;
}

bool Variable::needs_grad() const {
  if (!defined()) return false;
  return node_->kind == Node::Kind::kLeaf || node_->slot != nullptr;
}

bool Variable::is_leaf() const { return defined() && node_->kind == Node::Kind::kLeaf; }

bool Variable::is_activation() const { return defined() && node_->kind == Node::Kind::kActivation; }

const std::string& Variable::name() const { return node_->name; }

const Tensor& Variable::leaf_grad() const {
  CHECK(is_leaf());
  return node_->leaf_grad;
}

}  // namespace lockstep::autograd
