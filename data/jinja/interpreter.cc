#include "data/jinja/interpreter.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/jinja/filters.h"
#include "data/jinja/functions.h"
#include "data/jinja/objects.h"
#include "data/jinja/operators.h"
#include "data/jinja/repr.h"
#include "data/jinja/tests.h"

namespace lockstep::data::jinja {

Interpreter::Interpreter(const Module& module, const Value& variables, const RenderOptions& options)
    : module_(module), variables_(variables), options_(options) {}

Interpreter::~Interpreter() {
  // Namespaces may hold each other.
  for (const auto& one : namespaces_) one->Clear();
}

Rendered Interpreter::Run() {
  Output out;
  std::unique_ptr<Frame> frame = NewFrame(nullptr, module_.num_slots);
  Enter(module_.scope, *frame);
  ExecuteBody(module_.body, *frame, out);
  Retire(std::move(frame));
  const bool lost = num_generations_ > static_cast<int64_t>(out.spans.size());
  return {std::move(out.text), std::move(out.spans), lost};
}

void Interpreter::Charge(int64_t work) {
  steps_ += 1 + work;
  if (steps_ > options_.max_steps) {
    throw TemplateError(
        absl::StrCat("the template runs too long (more than ", options_.max_steps, " steps)"));
  }
}

void Interpreter::Write(absl::string_view text, Output& out) {
  out.text.append(text.data(), text.size());
  if (static_cast<int64_t>(out.text.size()) > options_.max_output_bytes) {
    throw TemplateError(absl::StrCat("the template writes too much (more than ",
                                     options_.max_output_bytes, " bytes)"));
  }
}

// Like Write(Str(value), out), but generation spans inside the value come along.
void Interpreter::WriteValue(const Value& value, Output& out) {
  const int64_t begin = static_cast<int64_t>(out.text.size());
  if (value.is_string()) {
    Write(value.str(), out);
  } else {
    Write(Str(value), out);
  }
  if (spanned_.empty()) return;
  const auto found = spanned_.find(value.object());
  if (found == spanned_.end()) return;
  for (const auto& [first, last] : found->second.second) {
    out.spans.emplace_back(begin + first, begin + last);
  }
}

// A body's text as a value.
Value Interpreter::TextOf(Output out) {
  Value text = Value::String(std::move(out.text));
  if (!out.spans.empty()) spanned_[text.object()] = {text, std::move(out.spans)};
  return text;
}

// `text`, which is `parts` one behind the other, with their spans.
Value Interpreter::Join(const Value& text, const std::vector<Value>& parts) {
  if (spanned_.empty()) return text;
  Output out;
  for (const Value& part : parts) WriteValue(part, out);
  return out.spans.empty() ? text : TextOf(std::move(out));
}

std::unique_ptr<Frame> Interpreter::NewFrame(Frame* parent, int num_slots) {
  return std::make_unique<Frame>(parent, num_slots);
}

// A frame that a macro still sees stays to the end.
void Interpreter::Retire(std::unique_ptr<Frame> frame) {
  if (frame->captured) retired_.push_back(std::move(frame));
}

Value& Interpreter::SlotIn(const Slot& slot, Frame& frame) {
  Frame* at = &frame;
  for (int i = 0; i < slot.up; ++i) at = at->parent;
  return at->slots[slot.index];
}

void Interpreter::Enter(const ScopeEntry& scope, Frame& frame) {
  for (const ScopeEntry::Load& load : scope.loads) {
    Value& slot = frame.slots[load.slot];
    switch (load.kind) {
      case ScopeEntry::Load::kMissing:
        slot = Value::Undefined();
        break;
      case ScopeEntry::Load::kAlias:
        slot = SlotIn(load.from, frame);
        break;
      case ScopeEntry::Load::kGlobal: {
        const Value* variable = variables_.Find(load.name);
        slot =
            variable != nullptr ? *variable : FindFunction(load.name).value_or(Value::Undefined());
        break;
      }
    }
  }
}

Value Interpreter::EvaluateName(const Expr& expr, Frame& frame) {
  const Value& value = SlotIn(expr.slot, frame);
  const bool missing = value.is_undefined() && value.object() == nullptr;
  return missing ? UndefinedVariable(expr.name) : value;
}

std::vector<Value> Interpreter::EvaluateAll(const std::vector<ExprPtr>& expressions, Frame& frame) {
  std::vector<Value> out;
  out.reserve(expressions.size());
  for (const ExprPtr& expression : expressions) out.push_back(Evaluate(*expression, frame));
  return out;
}

Value Interpreter::Evaluate(const Expr& expr, Frame& frame) {
  if (expr.kind == Expr::kConstant) return expr.constant;
  Charge(0);
  if (++depth_ > options_.max_depth) {
    throw TemplateError("maximum recursion depth exceeded", expr.line);
  }
  try {
    Value value = EvaluateNode(expr, frame);
    --depth_;
    return value;
  } catch (TemplateError& error) {
    if (error.line == 0) error.line = expr.line;
    throw;
  }
}

Value Interpreter::EvaluateNode(const Expr& expr, Frame& frame) {
  const auto operand = [&](size_t i) { return Evaluate(*expr.operands[i], frame); };
  switch (expr.kind) {
    case Expr::kConstant:
      return expr.constant;
    case Expr::kName:
      return EvaluateName(expr, frame);
    case Expr::kTuple:
      return Value::Tuple(EvaluateAll(expr.operands, frame));
    case Expr::kList:
      return Value::List(EvaluateAll(expr.operands, frame));
    case Expr::kDict:
      return EvaluateDict(expr, frame);
    case Expr::kAttribute:
      return GetAttribute(operand(0), expr.constant);
    case Expr::kItem:
      return EvaluateItem(expr, frame);
    case Expr::kSlice:
      throw TemplateError("a slice cannot stand here");
    case Expr::kCall:
      return EvaluateCall(expr, frame, nullptr);
    case Expr::kFilter:
      return EvaluateFilter(expr, frame, nullptr);
    case Expr::kTest: {
      const Value subject = operand(0);
      return Value::Bool(CallTest(expr.name, subject, EvaluateArguments(expr.call, frame)));
    }
    case Expr::kNegate:
      return Negate(operand(0));
    case Expr::kPlus:
      return Plus(operand(0));
    case Expr::kNot:
      return Value::Bool(!Truthy(operand(0)));
    case Expr::kAnd: {
      Value left = operand(0);
      return Truthy(left) ? operand(1) : left;
    }
    case Expr::kOr: {
      Value left = operand(0);
      return Truthy(left) ? left : operand(1);
    }
    case Expr::kBinary:
      return EvaluateBinary(expr, frame);
    case Expr::kCompare:
      return EvaluateCompare(expr, frame);
    case Expr::kConcatenate:
      return EvaluateConcatenation(expr, frame);
    case Expr::kConditional:
      if (Truthy(operand(0))) return operand(1);
      if (expr.operands[2]) return operand(2);
      return UndefinedWithHint(absl::StrCat("the inline if-expression on line ", expr.line,
                                            " evaluated to false and no else section was "
                                            "defined."));
    case Expr::kNamespaceAttribute:
      break;
  }
  throw TemplateError("this expression cannot be evaluated");
}

Value Interpreter::EvaluateItem(const Expr& expr, Frame& frame) {
  const Value object = Evaluate(*expr.operands[0], frame);
  const Expr& index = *expr.operands[1];
  if (index.kind != Expr::kSlice) return GetItem(object, Evaluate(index, frame));
  const auto bound = [&](size_t i) {
    return index.operands[i] ? Evaluate(*index.operands[i], frame) : Value::None();
  };
  const Value start = bound(0), stop = bound(1), step = bound(2);
  Charge(object.weight() / 256);
  return GetSlice(object, start, stop, step);
}

Value Interpreter::EvaluateBinary(const Expr& expr, Frame& frame) {
  const Value left = Evaluate(*expr.operands[0], frame);
  const Value right = Evaluate(*expr.operands[1], frame);
  Charge((left.weight() + right.weight()) / 256);
  const Value result = Arithmetic(expr.operators[0], left, right);
  Charge(result.weight() / 256);
  const bool joined = expr.operators[0] == Operator::kAdd && result.is_string();
  return joined ? Join(result, {left, right}) : result;
}

Value Interpreter::EvaluateDict(const Expr& expr, Frame& frame) {
  std::vector<std::pair<Value, Value>> items;
  for (size_t i = 0; i < expr.operands.size(); i += 2) {
    Value key = Evaluate(*expr.operands[i], frame);
    items.emplace_back(std::move(key), Evaluate(*expr.operands[i + 1], frame));
  }
  return Value::Dict(std::move(items));
}

// a < b < c: true if each pair is; later operands are only looked at while it is.
Value Interpreter::EvaluateCompare(const Expr& expr, Frame& frame) {
  Value left = Evaluate(*expr.operands[0], frame);
  for (size_t i = 0; i < expr.operators.size(); ++i) {
    Value right = Evaluate(*expr.operands[i + 1], frame);
    Charge(std::min(left.weight(), right.weight()) / 256);
    if (!Compare(expr.operators[i], left, right)) return Value::Bool(false);
    left = std::move(right);
  }
  return Value::Bool(true);
}

Value Interpreter::EvaluateConcatenation(const Expr& expr, Frame& frame) {
  const std::vector<Value> parts = EvaluateAll(expr.operands, frame);
  Output out;
  for (const Value& part : parts) WriteValue(part, out);
  Charge(static_cast<int64_t>(out.text.size()) / 256);
  return TextOf(std::move(out));
}

Arguments Interpreter::EvaluateArguments(const CallArguments& call, Frame& frame) {
  Arguments out;
  out.positional = EvaluateAll(call.positional, frame);
  if (call.starred) {
    for (Value& value : ToVector(Evaluate(*call.starred, frame))) {
      out.positional.push_back(std::move(value));
    }
  }
  for (const auto& [name, expression] : call.keyword) {
    out.keyword.emplace_back(name, Evaluate(*expression, frame));
  }
  if (call.double_starred) {
    const Value mapping = Evaluate(*call.double_starred, frame);
    if (!mapping.is_dict()) throw TemplateError("the argument after ** must be a mapping");
    for (const auto& [name, value] : mapping.dict().items) {
      if (!name.is_string()) throw TemplateError("keywords must be strings");
      out.keyword.emplace_back(name.str(), value);
    }
  }
  return out;
}

Value Interpreter::EvaluateCall(const Expr& expr, Frame& frame, const Value* caller) {
  const Value callable = Evaluate(*expr.operands[0], frame);
  Arguments arguments = EvaluateArguments(expr.call, frame);
  if (caller != nullptr) arguments.keyword.emplace_back("caller", *caller);
  return Call(callable, arguments);
}

Value Interpreter::EvaluateFilter(const Expr& expr, Frame& frame, const Value* text) {
  Value value;
  const Expr* input = expr.operands[0].get();
  if (input == nullptr) {
    value = *text;
  } else if (text != nullptr && input->kind == Expr::kFilter) {
    value = EvaluateFilter(*input, frame, text);
  } else {
    value = Evaluate(*input, frame);
  }
  return CallFilter(expr.name, value, EvaluateArguments(expr.call, frame));
}

Value Interpreter::Call(const Value& callable, const Arguments& arguments) {
  Charge(0);
  if (callable.is_undefined()) ThrowUndefined(callable);
  if (callable.type() != Type::kCustom) {
    throw TemplateError(absl::StrCat("'", TypeName(callable), "' object is not callable"));
  }
  const Value held = callable;  // the object lives as long as its call
  return held.custom().Call(*this, arguments);
}

namespace {

TemplateError NoFilter(absl::string_view name) {
  if (name == "random") {
    return TemplateError(
        "the filter 'random' is not supported: the same data would give other tokens");
  }
  if (name == "urlize") {
    return TemplateError("the filter 'urlize' (links of HTML) is not supported");
  }
  return TemplateError(absl::StrCat("No filter named '", name, "'."));
}

}  // namespace

Value Interpreter::CallFilter(absl::string_view name, const Value& value,
                              const Arguments& arguments) {
  const Filter filter = FindFilter(name);
  if (filter == nullptr) throw NoFilter(name);
  Charge(value.weight() / 256);
  return filter(*this, value, arguments);
}

bool Interpreter::CallTest(absl::string_view name, const Value& value, const Arguments& arguments) {
  const Test test = FindTest(name);
  if (test == nullptr) throw TemplateError(absl::StrCat("No test named '", name, "'."));
  Charge(0);
  return test(value, arguments);
}

Value Interpreter::MakeNamespace(std::vector<std::pair<Value, Value>> attributes) {
  auto out = std::make_shared<NamespaceObject>(std::move(attributes));
  namespaces_.push_back(out);
  return Value::Custom(std::move(out));
}

Value Interpreter::MakeMacro(const Function& function, Frame& frame) {
  for (Frame* at = &frame; at != nullptr && !at->captured; at = at->parent) at->captured = true;
  return Value::Custom(std::make_shared<MacroObject>(function, &frame));
}

}  // namespace lockstep::data::jinja
