// Runs a parsed template.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "data/jinja/ast.h"
#include "data/jinja/template.h"
#include "data/jinja/value.h"

namespace lockstep::data::jinja {

// The variables of one activation of a function.
struct Frame {
  Frame(Frame* parent, int num_slots) : parent(parent), slots(num_slots, Value::Undefined()) {}
  Frame* parent;
  std::vector<Value> slots;
  bool captured = false;  // a macro defined here may outlive the activation
};

// Bytes [begin, end) of a text that {% generation %} blocks wrote.
using Spans = std::vector<std::pair<int64_t, int64_t>>;

// A body's text.
struct Output {
  std::string text;
  Spans spans;
};

class LoopObject;
class MacroObject;
class NamespaceObject;

class Interpreter {
 public:
  Interpreter(const Module& module, const Value& variables, const RenderOptions& options);
  ~Interpreter();

  Rendered Run();

  // For filters, tests, methods and functions.
  const RenderOptions& options() const { return options_; }
  Value Call(const Value& callable, const Arguments& arguments);
  Value CallFilter(absl::string_view name, const Value& value, const Arguments& arguments);
  bool CallTest(absl::string_view name, const Value& value, const Arguments& arguments);
  Value CallMacro(const Function& function, Frame* closure, const Arguments& arguments);
  Value CallLoop(const Stmt& loop, Frame* closure, const Value& items, int depth);
  Value MakeNamespace(std::vector<std::pair<Value, Value>> attributes);
  // Counts `work` against the limit of steps.
  void Charge(int64_t work);

 private:
  enum class Flow { kNext, kBreak, kContinue };

  Flow ExecuteBody(const Body& body, Frame& frame, Output& out);
  Flow Execute(const Stmt& stmt, Frame& frame, Output& out);
  Flow ExecuteIf(const Stmt& stmt, Frame& frame, Output& out);
  void ExecuteFor(const Stmt& stmt, Frame& frame, Output& out);
  void RunLoop(const Stmt& stmt, const Value& items, Frame& frame, int depth, Output& out);
  void ExecuteSet(const Stmt& stmt, Frame& frame);
  void ExecuteGeneration(const Stmt& stmt, Frame& frame, Output& out);
  void Write(absl::string_view text, Output& out);
  void WriteValue(const Value& value, Output& out);
  Value TextOf(Output out);
  Value Join(const Value& text, const std::vector<Value>& parts);
  Value Capture(const Body& body, Frame& frame, const Expr* filter);

  void Enter(const ScopeEntry& scope, Frame& frame);
  void Assign(const Expr& target, Value value, Frame& frame);
  void CheckNamespaces(const Expr& target, Frame& frame);
  Value MakeMacro(const Function& function, Frame& frame);
  std::unique_ptr<Frame> NewFrame(Frame* parent, int num_slots);
  void Retire(std::unique_ptr<Frame> frame);

  Value Evaluate(const Expr& expr, Frame& frame);
  Value EvaluateNode(const Expr& expr, Frame& frame);
  Value EvaluateCompare(const Expr& expr, Frame& frame);
  Value EvaluateConcatenation(const Expr& expr, Frame& frame);
  Value EvaluateCall(const Expr& expr, Frame& frame, const Value* caller);
  Value EvaluateFilter(const Expr& expr, Frame& frame, const Value* text);
  Value EvaluateItem(const Expr& expr, Frame& frame);
  Value EvaluateBinary(const Expr& expr, Frame& frame);
  Value EvaluateDict(const Expr& expr, Frame& frame);
  Value EvaluateName(const Expr& expr, Frame& frame);
  Arguments EvaluateArguments(const CallArguments& call, Frame& frame);
  std::vector<Value> EvaluateAll(const std::vector<ExprPtr>& expressions, Frame& frame);
  static Value& SlotIn(const Slot& slot, Frame& frame);

  const Module& module_;
  const Value& variables_;
  const RenderOptions& options_;
  int64_t steps_ = 0;
  int depth_ = 0;
  // Texts of bodies (macros, set blocks) that hold generation spans, until they are written.
  absl::flat_hash_map<const Object*, std::pair<Value, Spans>> spanned_;
  int64_t num_generations_ = 0;  // blocks that were run
  std::vector<std::unique_ptr<Frame>> retired_;
  std::vector<std::shared_ptr<NamespaceObject>> namespaces_;
};

}  // namespace lockstep::data::jinja
