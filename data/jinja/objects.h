// Objects that templates hold and that have behavior: loop, macros, namespaces, functions.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/jinja/interpreter.h"
#include "data/jinja/value.h"

namespace lockstep::data::jinja {

// A function of the engine, or a method with its object bound.
class FunctionObject : public CustomObject {
 public:
  using Body = std::function<Value(Interpreter&, const Arguments&)>;
  FunctionObject(absl::string_view name, Body body) : name_(name), body_(std::move(body)) {}

  absl::string_view type_name() const override { return "builtin_function_or_method"; }
  std::string Repr(int) const override;
  bool callable() const override { return true; }
  Value Call(Interpreter& interpreter, const Arguments& arguments) override;

 private:
  std::string name_;
  Body body_;
};

Value MakeFunction(absl::string_view name, FunctionObject::Body body);

// How Python writes a function's name.
std::string MacroName(const Function& function);

class MacroObject : public CustomObject {
 public:
  MacroObject(const Function& function, Frame* closure) : function_(function), closure_(closure) {}

  absl::string_view type_name() const override { return "Macro"; }
  std::string Repr(int) const override;
  bool callable() const override { return true; }
  Value Call(Interpreter& interpreter, const Arguments& arguments) override;
  // name, arguments, catch_kwargs, catch_varargs, caller
  std::optional<Value> Attribute(absl::string_view name) override;

 private:
  const Function& function_;
  Frame* closure_;
};

class NamespaceObject : public CustomObject {
 public:
  explicit NamespaceObject(std::vector<std::pair<Value, Value>> attributes);

  absl::string_view type_name() const override { return "Namespace"; }
  std::string Repr(int depth) const override;
  std::optional<Value> Attribute(absl::string_view name) override;
  void Set(const Value& name, Value value);
  void Clear() { attributes_.clear(); }

 private:
  std::vector<std::pair<Value, Value>> attributes_;
};

// The variable `loop`: https://jinja.palletsprojects.com/templates/#for
class LoopObject : public CustomObject {
 public:
  LoopObject(const Value& items, std::function<bool(Value*)> next, int depth0,
             std::function<Value(const Value& items, int depth)> recurse);

  // The next turn's item; false at the end.
  bool Next(Value* item);

  absl::string_view type_name() const override { return "LoopContext"; }
  std::string Repr(int) const override;
  std::optional<Value> Attribute(absl::string_view name) override;
  std::optional<int64_t> Length() override { return Size(); }
  bool callable() const override { return true; }
  Value Call(Interpreter& interpreter, const Arguments& arguments) override;
  void Forget() { changed_.reset(); }

 private:
  int64_t Size();
  bool Peek();
  Value Changed(const Arguments& arguments);

  Value items_;
  std::function<bool(Value*)> next_;
  int depth0_;
  std::function<Value(const Value&, int)> recurse_;
  int64_t index0_ = -1;
  std::optional<int64_t> size_;
  std::optional<Value> after_, current_, before_, changed_;
};

}  // namespace lockstep::data::jinja
