#include "autograd/tape.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "autograd/node.h"
#include "base/check.h"
#include "tensor/kernels/accumulate.h"
#include "tensor/kernels/fill.h"

namespace lockstep::autograd {

// One recorded op.
struct Tape::Entry {
  struct Input {
    std::shared_ptr<GradientSlot> slot;  // of an activation that needs a gradient
    Variable weight;                     // a leaf or a frozen weight
  };
  struct Saved {
    Tensor tensor;
    uint64_t version;
  };

  const char* op;
  std::vector<Input> inputs;
  std::vector<std::shared_ptr<GradientSlot>> outputs;
  std::vector<Saved> saved;
  bool is_segment = false;
  std::vector<Variable> segment_uses;  // of leaves, inside a checkpointed segment
  BackwardFn backward;
};

// What a segment's first run keeps for its second, in the order of ComputeOnce.
struct Tape::Kept {
  struct Item {
    std::shared_ptr<Parking::Place> place;  // of computed.large; null: it stays where it is
    Computed computed;
  };
  Parking* parking = nullptr;
  std::vector<Item> items = {};
  size_t taken = 0;
};

struct Tape::LeafUses {
  struct Use {
    int open = 0;          // ops that have not yet handed in their part of the gradient
    bool written = false;  // whether one of them has
  };
  absl::flat_hash_map<const void*, Use> of;
  const LeafHook* on_final = nullptr;
};

Tape::Tape(const Context& context, Mode mode)
    : context_(context), mode_(mode), uses_(std::make_shared<LeafUses>()) {}

Tape::~Tape() = default;

bool Tape::WouldRecord(absl::Span<const Variable> inputs) const {
  return mode_ == Mode::kRecord && std::any_of(inputs.begin(), inputs.end(),
                                               [](const Variable& v) { return v.needs_grad(); });
}

void Tape::CountUses(absl::Span<const Variable> inputs) {
  for (const Variable& input : inputs) {
    if (!input.is_leaf()) continue;
    if (counts_uses_) ++uses_->of[input.id()].open;
    leaves_used_.push_back(input);
  }
}

std::vector<Variable> Tape::Record(const char* op, absl::Span<const Variable> inputs,
                                   absl::Span<const Tensor> outputs, absl::Span<const Tensor> saved,
                                   BackwardFn backward) {
  CountUses(inputs);
  return Append(op, inputs, outputs, saved, std::move(backward));
}

std::vector<Variable> Tape::Append(const char* op, absl::Span<const Variable> inputs,
                                   absl::Span<const Tensor> outputs, absl::Span<const Tensor> saved,
                                   BackwardFn backward) {
  for (const Variable& input : inputs) {
    CHECK(!input.defined() || input.node_->overwritten_by == nullptr)
        << "[" << op << "] an input was modified in place by " << input.node_->overwritten_by
        << "; use what that op returned";
  }
  const bool recorded = WouldRecord(inputs);
  auto entry = std::make_unique<Entry>();
  std::vector<Variable> results;
  for (const Tensor& output : outputs) {
    Variable& result = results.emplace_back();
    result.node_ = std::make_shared<Variable::Node>();
    result.node_->value = output;
    if (!recorded) continue;
    result.node_->slot = std::make_shared<GradientSlot>();
    result.node_->slot->like = output.view();
    entry->outputs.push_back(result.node_->slot);
  }
  if (!recorded) return results;
  entry->op = op;
  for (const Variable& input : inputs) {
    Entry::Input& kept = entry->inputs.emplace_back();
    if (!input.defined()) continue;
    if (input.node_->kind == Variable::Node::Kind::kActivation) {
      kept.slot = input.node_->slot;
    } else {
      kept.weight = input;
    }
  }
  for (const Tensor& tensor : saved) {
    entry->saved.push_back({tensor, tensor.defined() ? tensor.version() : 0});
  }
  entry->backward = std::move(backward);
  entries_.push_back(std::move(entry));
  return results;
}

Variable Tape::Record(const char* op, std::initializer_list<Variable> inputs, Tensor output,
                      std::initializer_list<Tensor> saved, BackwardFn backward) {
  return Record(op, absl::MakeConstSpan(inputs.begin(), inputs.size()), {std::move(output)},
                absl::MakeConstSpan(saved.begin(), saved.size()), std::move(backward))[0];
}

Variable Tape::RecordInPlace(const char* op, const Variable& x, absl::Span<const Variable> others,
                             absl::Span<const Tensor> saved, BackwardFn backward) {
  CHECK(x.defined() && x.node_->kind == Variable::Node::Kind::kActivation)
      << "[" << op << "] only activations may be modified in place";
  std::vector<Variable> inputs = {x};
  inputs.insert(inputs.end(), others.begin(), others.end());
  Variable result = Record(op, inputs, {x.value()}, saved, std::move(backward))[0];
  x.node_->overwritten_by = op;
  return result;
}

Variable Tape::Input(Tensor value) {
  Variable input;
  input.node_ = std::make_shared<Variable::Node>();
  input.node_->slot = std::make_shared<GradientSlot>();
  input.node_->slot->like = value.view();
  input.node_->value = std::move(value);
  return input;
}

Tensor Tape::GradientOf(const Variable& variable) { return variable.node_->slot->grad; }

std::vector<Variable> Tape::Checkpoint(const char* name, absl::Span<const Variable> inputs,
                                       Segment segment, Parking* parking) {
  if (mode_ == Mode::kForward) {  // inside another segment, which will run this one as one
    const std::shared_ptr<Kept> kept = std::exchange(kept_, nullptr);
    std::vector<Variable> results = segment(*this, inputs);
    kept_ = kept;
    return results;
  }
  Tape forward(context_, Mode::kForward);
  forward.uses_ = uses_;
  forward.counts_uses_ = counts_uses_;
  forward.kept_ = std::make_shared<Kept>(Kept{parking});
  const std::vector<Variable> results = segment(forward, inputs);
  leaves_used_.insert(leaves_used_.end(), forward.leaves_used_.begin(), forward.leaves_used_.end());
  // Behind what the segment has parked: the second run takes them first.
  std::vector<Tensor> saved;
  ParkedInputs parked(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    saved.push_back(inputs[i].defined() ? inputs[i].value() : Tensor());
    if (parking != nullptr && inputs[i].is_activation()) {
      parked[i] = parking->Park(std::exchange(saved[i], Tensor()));
    }
  }

  std::vector<Tensor> outputs;
  for (const Variable& result : results) outputs.push_back(result.value());
  // The segment's leaves make the outputs need a gradient even where no input does.
  std::vector<Variable> all_inputs(inputs.begin(), inputs.end());
  all_inputs.insert(all_inputs.end(), forward.leaves_used_.begin(), forward.leaves_used_.end());
  std::vector<Variable> variables =
      Append(name, all_inputs, outputs, saved,
             [this, parked = std::move(parked), kept = forward.kept_,
              segment = std::move(segment)](Gradients& g) { Rerun(segment, parked, kept, g); });
  if (WouldRecord(all_inputs)) {
    entries_.back()->is_segment = true;
    entries_.back()->segment_uses = std::move(forward.leaves_used_);
  }
  return variables;
}

Tape::Computed Tape::ComputeOnce(absl::FunctionRef<Computed()> compute) {
  if (kept_ == nullptr) return compute();
  if (rerunning_) {
    CHECK_LT(kept_->taken, kept_->items.size()) << "[checkpoint] the second run is another one";
    Kept::Item item = std::move(kept_->items[kept_->taken++]);
    if (item.place != nullptr) item.computed.large = item.place->Take();
    return item.computed;
  }
  Computed computed = compute();
  Kept::Item& item = kept_->items.emplace_back(Kept::Item{nullptr, computed});
  if (kept_->parking != nullptr && computed.large.defined()) {
    item.place = kept_->parking->Park(std::exchange(item.computed.large, Tensor()));
  }
  return computed;
}

void Tape::Rerun(const Segment& segment, const ParkedInputs& parked,
                 const std::shared_ptr<Kept>& kept, Gradients& g) {
  Tape again(context_, Mode::kRecord);
  again.uses_ = uses_;
  again.counts_uses_ = false;
  again.rerunning_ = true;
  again.kept_ = kept;
  std::vector<Variable> inputs(parked.size());
  for (size_t i = inputs.size(); i-- > 0;) {  // what was parked last comes first
    const Entry::Input& input = g.entry_.inputs[i];
    const Tensor value = parked[i] != nullptr ? parked[i]->Take() : g.saved(static_cast<int>(i));
    if (input.weight.defined()) {
      inputs[i] = input.weight;
    } else if (input.slot != nullptr) {
      inputs[i] = Input(value);
    } else if (value.defined()) {
      inputs[i] = Variable::Frozen(value);
    }
  }
  {
    const std::vector<Variable> outputs = segment(again, inputs);
    std::vector<Tensor> seeds;
    for (size_t i = 0; i < outputs.size(); ++i) seeds.push_back(g.TakeOutput(i));
    again.Seed(outputs, seeds);
  }  // their values are gone: backward reads what ops have saved
  again.Run();
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (g.entry_.inputs[i].slot == nullptr) continue;
    if (Tensor grad = GradientOf(inputs[i]); grad.defined()) g.Add(i, std::move(grad));
  }
}

void Tape::Backward(absl::Span<const Variable> outputs, absl::Span<const Tensor> seeds,
                    const LeafHook& on_leaf_final) {
  CHECK(mode_ == Mode::kRecord) << "[backward] the tape does not record";
  uses_->on_final = &on_leaf_final;
  Seed(outputs, seeds);
  Run();
  uses_->on_final = nullptr;
}

void Tape::Seed(absl::Span<const Variable> outputs, absl::Span<const Tensor> seeds) {
  CHECK_EQ(outputs.size(), seeds.size());
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!seeds[i].defined() || !outputs[i].needs_grad()) continue;
    GradientSlot& slot = *outputs[i].node_->slot;
    CHECK_EQ(slot.like.numel(), seeds[i].numel())
        << "[backward] output " << i << " is " << Describe(slot.like) << ", its seed "
        << Describe(seeds[i]);
    slot.grad = seeds[i];
  }
}

void Tape::Run() {
  while (!entries_.empty()) {
    RunEntry(*entries_.back());
    entries_.pop_back();
  }
}

void Tape::RunEntry(Entry& entry) {
  std::vector<Tensor> output_grads;
  bool reached = false;
  for (const auto& slot : entry.outputs) {
    output_grads.push_back(std::move(slot->grad));
    reached = reached || output_grads.back().defined();
  }
  if (reached) {
    for (const Entry::Saved& saved : entry.saved) {
      CHECK(!saved.tensor.defined() || saved.tensor.version() == saved.version)
          << "[" << entry.op << "] a tensor that it saved for backward was modified in place by "
          << saved.tensor.last_writer();
    }
    Gradients gradients(*this, entry, std::move(output_grads));
    entry.backward(gradients);
  } else {  // nothing will rerun the segment
    for (const Variable& leaf : entry.segment_uses) FinishUse(leaf);
  }
  if (entry.is_segment) return;  // a segment's uses are finished inside it
  for (const Entry::Input& input : entry.inputs) {
    if (input.weight.is_leaf()) FinishUse(input.weight);
  }
}

void Tape::FinishUse(const Variable& leaf) {
  LeafUses::Use& use = uses_->of[leaf.id()];
  CHECK_GT(use.open, 0) << "[backward] " << leaf.name() << " has more gradients than uses";
  if (--use.open > 0) return;
  if (!use.written) kernels::Fill(context_.stream, leaf.leaf_grad().Mutable("backward"), 0.0);
  if (uses_->on_final != nullptr && *uses_->on_final) (*uses_->on_final)(leaf);
}

const Tensor& Gradients::saved(int i) const { return entry_.saved[i].tensor; }

const Tensor& Gradients::input(int i) const { return entry_.inputs[i].weight.value(); }

bool Gradients::Needs(int i) const {
  return entry_.inputs[i].slot != nullptr || entry_.inputs[i].weight.is_leaf();
}

Tensor Gradients::NewLike(int i) const {
  const Tape::Entry::Input& input = entry_.inputs[i];
  const View& like = input.slot != nullptr ? input.slot->like : input.weight.value().view();
  return Tensor::Empty(*context().allocator, like.dtype,
                       absl::MakeConstSpan(like.shape, like.rank));
}

Tensor Gradients::New(DType dtype, std::initializer_list<int64_t> shape) const {
  return Tensor::Empty(*context().allocator, dtype, shape);
}

void Gradients::Add(int i, Tensor grad) {
  GradientSlot* slot = entry_.inputs[i].slot.get();
  if (slot == nullptr) return;  // nobody wants it
  CHECK_EQ(slot->like.numel(), grad.numel())
      << "[" << entry_.op << "] input " << i << " is " << Describe(slot->like) << ", its gradient "
      << Describe(grad);
  if (!slot->grad.defined()) {
    slot->grad = std::move(grad);
    return;
  }
  if (!slot->grad.unique()) {  // it is also somebody else's gradient: add into memory of our own
    Tensor own = NewLike(i);
    kernels::Fill(context().stream, own, 0.0);
    kernels::Accumulate(context().stream, slot->grad, own);
    slot->grad = std::move(own);
  }
  kernels::Accumulate(context().stream, grad, slot->grad.Mutable(entry_.op));
}

LeafTarget Gradients::Target(int i) {
  const Variable& leaf = entry_.inputs[i].weight;
  CHECK(leaf.is_leaf()) << "[" << entry_.op << "] input " << i << " is not a leaf";
  leaf.leaf_grad().Mutable(entry_.op);
  return {leaf.leaf_grad(), std::exchange(tape_.uses_->of[leaf.id()].written, true)};
}

}  // namespace lockstep::autograd
