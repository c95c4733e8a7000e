// The interpreter's statements; interpreter.cc has the expressions.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/jinja/interpreter.h"
#include "data/jinja/objects.h"
#include "data/jinja/operators.h"

namespace lockstep::data::jinja {

Interpreter::Flow Interpreter::ExecuteBody(const Body& body, Frame& frame, Output& out) {
  for (const StmtPtr& stmt : body) {
    Charge(0);
    if (++depth_ > options_.max_depth) {
      throw TemplateError("maximum recursion depth exceeded", stmt->line);
    }
    Flow flow;
    try {
      flow = Execute(*stmt, frame, out);
    } catch (TemplateError& error) {
      if (error.line == 0) error.line = stmt->line;
      throw;
    }
    --depth_;
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::Execute(const Stmt& stmt, Frame& frame, Output& out) {
  switch (stmt.kind) {
    case Stmt::kText:
      Write(stmt.text, out);
      break;
    case Stmt::kOutput:
      WriteValue(Evaluate(*stmt.expression, frame), out);
      break;
    case Stmt::kIf:
      return ExecuteIf(stmt, frame, out);
    case Stmt::kFor:
      ExecuteFor(stmt, frame, out);
      break;
    case Stmt::kSet:
      ExecuteSet(stmt, frame);
      break;
    case Stmt::kSetBlock:
      Enter(stmt.scope, frame);
      Assign(*stmt.target, Capture(stmt.body, frame, stmt.filter.get()), frame);
      break;
    case Stmt::kMacro:
      Assign(*stmt.target, MakeMacro(*stmt.function, frame), frame);
      break;
    case Stmt::kCall: {
      const Value caller = MakeMacro(*stmt.function, frame);
      WriteValue(EvaluateCall(*stmt.expression, frame, &caller), out);
      break;
    }
    case Stmt::kGeneration:
      ExecuteGeneration(stmt, frame, out);
      break;
    case Stmt::kFilterBlock:
      Enter(stmt.scope, frame);
      WriteValue(Capture(stmt.body, frame, stmt.filter.get()), out);
      break;
    case Stmt::kWith: {
      std::vector<Value> values = EvaluateAll(stmt.values, frame);
      Enter(stmt.scope, frame);
      for (size_t i = 0; i < values.size(); ++i) Assign(*stmt.targets[i], values[i], frame);
      return ExecuteBody(stmt.body, frame, out);
    }
    case Stmt::kBlock:
      Enter(stmt.scope, frame);
      return ExecuteBody(stmt.body, frame, out);
    case Stmt::kBreak:
      return Flow::kBreak;
    case Stmt::kContinue:
      return Flow::kContinue;
    case Stmt::kRaise:
      throw TemplateError(stmt.text);
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::ExecuteIf(const Stmt& stmt, Frame& frame, Output& out) {
  for (const auto& [condition, body] : stmt.branches) {
    if (condition == nullptr || Truthy(Evaluate(*condition, frame))) {
      return ExecuteBody(body, frame, out);
    }
  }
  return Flow::kNext;
}

void Interpreter::ExecuteFor(const Stmt& stmt, Frame& frame, Output& out) {
  const Value items = Evaluate(*stmt.expression, frame);
  if (stmt.recursive) {
    WriteValue(CallLoop(stmt, &frame, items, 0), out);
  } else {
    RunLoop(stmt, items, frame, 0, out);
  }
}

Value Interpreter::CallLoop(const Stmt& loop, Frame* closure, const Value& items, int depth) {
  std::unique_ptr<Frame> frame = NewFrame(closure, loop.num_slots);
  Output out;
  RunLoop(loop, items, *frame, depth, out);
  Retire(std::move(frame));
  return TextOf(std::move(out));
}

namespace {

// What a loop with a test walks over: where its target is a tuple, tuples.
Value AsTuples(const Expr& target, const Value& value) {
  if (target.kind != Expr::kTuple) return value;
  std::vector<Value> parts = ToVector(value);
  for (size_t i = 0; i < parts.size(); ++i) parts[i] = AsTuples(*target.operands[i], parts[i]);
  return Value::Tuple(std::move(parts));
}

}  // namespace

void Interpreter::RunLoop(const Stmt& stmt, const Value& items, Frame& frame, int depth,
                          Output& out) {
  std::function<bool(Value*)> next = Iterate(items);
  if (stmt.test) {
    next = [this, &stmt, &frame, all = std::move(next), entered = false](Value* item) mutable {
      if (!std::exchange(entered, true)) Enter(stmt.test_scope, frame);
      while (all(item)) {
        Assign(*stmt.test_target, *item, frame);
        if (!Truthy(Evaluate(*stmt.test, frame))) continue;
        *item = AsTuples(*stmt.test_target, *item);
        return true;
      }
      return false;
    };
  }
  std::function<Value(const Value&, int)> recurse;
  if (stmt.recursive) {
    recurse = [this, &stmt, closure = frame.parent](const Value& inner, int inner_depth) {
      return CallLoop(stmt, closure, inner, inner_depth);
    };
  }
  // What a test filters has no length of its own.
  const Value& sized = stmt.test ? Value::Iterator(nullptr) : items;
  std::shared_ptr<LoopObject> loop;
  if (stmt.loop_slot >= 0) {
    loop = std::make_shared<LoopObject>(sized, std::move(next), depth, std::move(recurse));
  }
  bool completed = false;  // a turn to its end: without one, Jinja takes the else branch
  for (Value item; loop ? loop->Next(&item) : next(&item);) {
    Charge(0);
    Assign(*stmt.target, std::move(item), frame);
    if (loop) frame.slots[stmt.loop_slot] = Value::Custom(loop);
    Enter(stmt.scope, frame);
    const Flow flow = ExecuteBody(stmt.body, frame, out);
    if (flow == Flow::kBreak) break;
    completed |= flow == Flow::kNext;
  }
  if (loop) loop->Forget();
  if (!completed && !stmt.otherwise.empty()) {
    Enter(stmt.otherwise_scope, frame);
    ExecuteBody(stmt.otherwise, frame, out);
  }
}

// Jinja asks for namespaces before it evaluates.
void Interpreter::CheckNamespaces(const Expr& target, Frame& frame) {
  if (target.kind == Expr::kNamespaceAttribute) {
    const Value holder = EvaluateName(target, frame);
    if (TypeName(holder) != "Namespace") {
      throw TemplateError("cannot assign attribute on non-namespace object");
    }
  }
  for (const ExprPtr& part : target.operands) CheckNamespaces(*part, frame);
}

void Interpreter::ExecuteSet(const Stmt& stmt, Frame& frame) {
  CheckNamespaces(*stmt.target, frame);
  Assign(*stmt.target, Evaluate(*stmt.expression, frame), frame);
}

void Interpreter::Assign(const Expr& target, Value value, Frame& frame) {
  if (target.kind == Expr::kName) {
    SlotIn(target.slot, frame) = std::move(value);
    return;
  }
  if (target.kind == Expr::kNamespaceAttribute) {
    const Value holder = EvaluateName(target, frame);
    static_cast<NamespaceObject&>(holder.custom()).Set(target.constant, std::move(value));
    return;
  }
  std::vector<Value> parts = ToVector(value);
  if (parts.size() != target.operands.size()) {
    throw TemplateError(
        parts.size() < target.operands.size()
            ? absl::StrCat("not enough values to unpack (expected ", target.operands.size(),
                           ", got ", parts.size(), ")")
            : absl::StrCat("too many values to unpack (expected ", target.operands.size(), ")"));
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    Assign(*target.operands[i], std::move(parts[i]), frame);
  }
}

// The text of a set or filter block; its scope is entered.
Value Interpreter::Capture(const Body& body, Frame& frame, const Expr* filter) {
  Output out;
  ExecuteBody(body, frame, out);
  Value text = TextOf(std::move(out));
  return filter != nullptr ? EvaluateFilter(*filter, frame, &text) : text;
}

// A {% generation %} block is a call block around its body: assignments stay inside.
void Interpreter::ExecuteGeneration(const Stmt& stmt, Frame& frame, Output& out) {
  const Value text = CallMacro(*stmt.function, &frame, {});
  const int64_t begin = static_cast<int64_t>(out.text.size());
  Write(text.str(), out);
  out.spans.emplace_back(begin, static_cast<int64_t>(out.text.size()));
  ++num_generations_;
}

Value Interpreter::CallMacro(const Function& function, Frame* closure, const Arguments& arguments) {
  std::unique_ptr<Frame> frame = NewFrame(closure, function.num_slots);
  const size_t count = function.parameters.size();
  std::vector<std::pair<Value, Value>> kwargs;
  std::vector<bool> given(count, false);
  for (size_t i = 0; i < count && i < arguments.positional.size(); ++i) {
    frame->slots[function.parameters[i]->slot.index] = arguments.positional[i];
    given[i] = true;
  }
  Value caller = UndefinedWithHint("No caller defined");
  for (const auto& [name, value] : arguments.keyword) {
    const auto parameter =
        std::find_if(function.parameters.begin(), function.parameters.end(),
                     [&, n = &name](const ExprPtr& one) { return one->name == *n; });
    const size_t i = parameter - function.parameters.begin();
    if (i < count && !given[i]) {
      frame->slots[(*parameter)->slot.index] = value;
      given[i] = true;
    } else if (name == "caller" && function.caller_slot >= 0) {
      caller = value;
    } else if (function.uses_kwargs) {
      kwargs.emplace_back(Value::String(name), value);
    } else {
      throw TemplateError(
          absl::StrCat("macro ", MacroName(function), " takes no keyword argument '", name, "'"));
    }
  }
  if (arguments.positional.size() > count && !function.uses_varargs) {
    throw TemplateError(absl::StrCat("macro ", MacroName(function), " takes not more than ", count,
                                     " argument(s)"));
  }
  if (function.caller_slot >= 0) frame->slots[function.caller_slot] = caller;
  if (function.uses_kwargs) frame->slots[function.kwargs_slot] = Value::Dict(std::move(kwargs));
  if (function.uses_varargs) {
    const size_t used = std::min(count, arguments.positional.size());
    frame->slots[function.varargs_slot] = Value::Tuple(
        {arguments.positional.begin() + static_cast<int64_t>(used), arguments.positional.end()});
  }
  Enter(function.scope, *frame);
  for (size_t i = 0; i < count; ++i) {
    if (given[i]) continue;
    const Expr& parameter = *function.parameters[i];
    const size_t required = count - function.defaults.size();
    frame->slots[parameter.slot.index] =
        i >= required
            ? Evaluate(*function.defaults[i - required], *frame)
            : UndefinedWithHint(absl::StrCat("parameter '", parameter.name, "' was not provided"));
  }
  Output out;
  ExecuteBody(function.body, *frame, out);
  Retire(std::move(frame));
  return TextOf(std::move(out));
}

}  // namespace lockstep::data::jinja
