// A parsed template. Names are resolved to slots before it runs (scope.h).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/jinja/value.h"

namespace lockstep::data::jinja {

// Where a variable lives: in the frame `up` functions out, at `index`.
struct Slot {
  int up = 0;
  int index = -1;
};

enum class Operator {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn,
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct CallArguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> keyword;
  ExprPtr starred;         // *args
  ExprPtr double_starred;  // **kwargs
};

struct Expr {
  enum Kind {
    kConstant,            // constant
    kName,                // name, slot
    kNamespaceAttribute,  // target `name.attribute` of a set; constant: the attribute
    kTuple,               // operands
    kList,                // operands
    kDict,                // operands: key, value, key, value …
    kAttribute,           // operands[0].constant
    kItem,                // operands[0][operands[1]]
    kSlice,               // operands[0..2], each may be null
    kCall,                // operands[0](call)
    kFilter,              // operands[0] | name(call); operands[0] null: the text of a block
    kTest,                // operands[0] is name(call)
    kNegate,
    kPlus,
    kNot,
    kAnd,
    kOr,
    kBinary,       // operands[0] operators[0] operands[1]
    kCompare,      // operands[0] operators[0] operands[1] operators[1] …
    kConcatenate,  // operands[0] ~ operands[1] ~ …
    kConditional,  // operands[1] if operands[0] else operands[2] (may be null)
  };
  Kind kind;
  int line;
  int depth = 1;  // of this tree
  std::string name;
  Value constant;
  std::vector<ExprPtr> operands;
  std::vector<Operator> operators;
  CallArguments call;
  Slot slot;
};

// What happens when a scope is entered: variables of its own are looked up.
struct ScopeEntry {
  struct Load {
    enum Kind { kGlobal, kAlias, kMissing };
    Kind kind;
    int slot;          // of the frame at hand
    std::string name;  // kGlobal: the render variable
    Slot from;         // kAlias: the outer scope's variable of that name
  };
  std::vector<Load> loads;
};

struct Stmt;
using StmtPtr = std::unique_ptr<Stmt>;
using Body = std::vector<StmtPtr>;

// A macro, or the body of a call or generation block: a function with a frame of its own.
struct Function {
  std::string name;                 // empty: the body of a call block
  std::vector<ExprPtr> parameters;  // names
  std::vector<ExprPtr> defaults;    // of the last ones
  Body body;
  bool uses_caller = false, uses_kwargs = false, uses_varargs = false;
  bool caller_is_parameter = false;
  int caller_slot = -1, kwargs_slot = -1, varargs_slot = -1;
  ScopeEntry scope;
  int num_slots = 0;
};

struct Stmt {
  enum Kind {
    kText,         // text
    kOutput,       // expression
    kIf,           // branches: (condition, body)…; the last condition may be null
    kFor,          // target, expression, test, body, otherwise
    kSet,          // target, expression
    kSetBlock,     // target, body, filter
    kMacro,        // function, target
    kCall,         // expression (a call), function
    kGeneration,   // function
    kFilterBlock,  // filter, body
    kWith,         // targets, values, body
    kBlock,        // body
    kBreak,
    kContinue,
    kRaise,  // text
  };
  Kind kind;
  int line;
  std::string text;
  ExprPtr expression, target, filter;
  std::vector<std::pair<ExprPtr, Body>> branches;
  std::vector<ExprPtr> targets, values;
  Body body, otherwise;
  std::unique_ptr<Function> function;
  ScopeEntry scope;

  // Of a loop. A recursive one is a function: its slots are a frame of its own.
  ExprPtr test, test_target;
  ScopeEntry test_scope, otherwise_scope;
  bool recursive = false;
  int loop_slot = -1;  // of `loop`, if the body uses it
  int num_slots = 0;   // of a recursive loop
};

struct Module {
  Body body;
  ScopeEntry scope;
  int num_slots = 0;
  bool has_generation = false;
};

}  // namespace lockstep::data::jinja
