#include "data/jinja/objects.h"

#include <algorithm>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/jinja/operators.h"
#include "data/jinja/repr.h"

namespace lockstep::data::jinja {

std::string FunctionObject::Repr(int) const { return absl::StrCat("<function ", name_, ">"); }

Value FunctionObject::Call(Interpreter& interpreter, const Arguments& arguments) {
  return body_(interpreter, arguments);
}

Value MakeFunction(absl::string_view name, FunctionObject::Body body) {
  return Value::Custom(std::make_shared<FunctionObject>(name, std::move(body)));
}

std::string MacroName(const Function& function) {
  return function.name.empty() ? "None" : QuoteString(function.name);
}

std::string MacroObject::Repr(int) const {
  return absl::StrCat("<Macro ", function_.name.empty() ? "anonymous" : MacroName(function_), ">");
}

Value MacroObject::Call(Interpreter& interpreter, const Arguments& arguments) {
  return interpreter.CallMacro(function_, closure_, arguments);
}

std::optional<Value> MacroObject::Attribute(absl::string_view name) {
  if (name == "name") {
    return function_.name.empty() ? Value::None() : Value::String(function_.name);
  }
  if (name == "caller") return Value::Bool(function_.uses_caller);
  if (name == "catch_kwargs") return Value::Bool(function_.uses_kwargs);
  if (name == "catch_varargs") return Value::Bool(function_.uses_varargs);
  if (name != "arguments") return std::nullopt;
  std::vector<Value> names;
  for (const ExprPtr& parameter : function_.parameters) {
    names.push_back(Value::String(parameter->name));
  }
  return Value::Tuple(std::move(names));
}

NamespaceObject::NamespaceObject(std::vector<std::pair<Value, Value>> attributes) {
  for (auto& [name, value] : attributes) Set(name, std::move(value));
}

std::string NamespaceObject::Repr(int depth) const {
  std::string out = "<Namespace {";
  for (size_t i = 0; i < attributes_.size(); ++i) {
    const auto& [name, value] = attributes_[i];
    absl::StrAppend(&out, i > 0 ? ", " : "", jinja::Repr(name), ": ",
                    jinja::Repr(value, depth + 1));
    if (static_cast<int64_t>(out.size()) > kMaxWeight) throw TemplateError("a text is too long");
  }
  return out + "}>";
}

std::optional<Value> NamespaceObject::Attribute(absl::string_view name) {
  for (const auto& attribute : attributes_) {
    if (attribute.first.is_string() && attribute.first.str() == name) return attribute.second;
  }
  return std::nullopt;
}

void NamespaceObject::Set(const Value& name, Value value) {
  if (name.is_string() && absl::StartsWith(name.str(), "_")) {
    throw TemplateError(absl::StrCat(
        "Chat templates cannot store underscore-prefixed attributes on a namespace, but got ",
        jinja::Repr(name), ". Please rename the attribute."));
  }
  depth = std::max(depth, value.depth() + 1);
  if (depth > kMaxDepth) throw TemplateError("values are nested too deeply");
  for (auto& attribute : attributes_) {
    if (Equal(attribute.first, name)) {
      attribute.second = std::move(value);
      return;
    }
  }
  attributes_.emplace_back(name, std::move(value));
}

LoopObject::LoopObject(const Value& items, std::function<bool(Value*)> next, int depth0,
                       std::function<Value(const Value&, int)> recurse)
    : items_(items), next_(std::move(next)), depth0_(depth0), recurse_(std::move(recurse)) {
  depth = items.depth() + 1;
}

bool LoopObject::Next(Value* item) {
  if (after_.has_value()) {
    *item = *std::exchange(after_, std::nullopt);
  } else if (!next_(item)) {
    return false;
  }
  ++index0_;
  before_ = std::exchange(current_, *item);
  return true;
}

std::string LoopObject::Repr(int) const {
  return absl::StrCat("<LoopContext ", index0_ + 1, "/", const_cast<LoopObject*>(this)->Size(),
                      ">");
}

bool LoopObject::Peek() {
  if (after_.has_value()) return true;
  Value next;
  if (!next_(&next)) return false;
  after_ = std::move(next);
  return true;
}

int64_t LoopObject::Size() {
  if (size_.has_value()) return *size_;
  size_ = jinja::Length(items_);
  if (size_.has_value()) return *size_;
  std::vector<Value> rest;
  for (Value item; next_(&item);) rest.push_back(std::move(item));
  size_ = static_cast<int64_t>(rest.size()) + index0_ + 1 + after_.has_value();
  next_ = Iterate(Value::List(std::move(rest)));
  return *size_;
}

Value LoopObject::Changed(const Arguments& arguments) {
  Value now = Value::Tuple(arguments.positional);
  if (changed_.has_value() && Equal(*changed_, now)) return Value::Bool(false);
  changed_ = std::move(now);
  return Value::Bool(true);
}

std::optional<Value> LoopObject::Attribute(absl::string_view name) {
  if (name == "index0") return Value::Integer(index0_);
  if (name == "index") return Value::Integer(index0_ + 1);
  if (name == "first") return Value::Bool(index0_ == 0);
  if (name == "last") return Value::Bool(!Peek());
  if (name == "length") return Value::Integer(Size());
  if (name == "revindex") return Value::Integer(Size() - index0_);
  if (name == "revindex0") return Value::Integer(Size() - index0_ - 1);
  if (name == "depth") return Value::Integer(depth0_ + 1);
  if (name == "depth0") return Value::Integer(depth0_);
  if (name == "previtem") {
    return index0_ > 0 ? *before_ : UndefinedWithHint("there is no previous item");
  }
  if (name == "nextitem") return Peek() ? *after_ : UndefinedWithHint("there is no next item");
  if (name == "cycle") {
    return MakeFunction("cycle", [index0 = index0_](Interpreter&, const Arguments& arguments) {
      if (arguments.positional.empty()) throw TemplateError("no items for cycling given");
      return arguments.positional[index0 % arguments.positional.size()];
    });
  }
  if (name == "changed") {
    return MakeFunction(
        "changed", [this, held = shared_from_this()](Interpreter&, const Arguments& arguments) {
          return Changed(arguments);
        });
  }
  return std::nullopt;
}

Value LoopObject::Call(Interpreter&, const Arguments& arguments) {
  if (recurse_ == nullptr) {
    throw TemplateError("The loop must have the 'recursive' marker to be called recursively.");
  }
  if (arguments.positional.size() != 1 || !arguments.keyword.empty()) {
    throw TemplateError("loop() takes one iterable");
  }
  return recurse_(arguments.positional[0], depth0_ + 1);
}

}  // namespace lockstep::data::jinja
