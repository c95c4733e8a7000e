#include "data/jinja/methods.h"

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "data/jinja/arguments.h"
#include "data/jinja/objects.h"
#include "data/jinja/operators.h"
#include "data/jinja/repr.h"

namespace lockstep::data::jinja {

namespace {

using Method = Value (*)(const Value& self, const Arguments& arguments);
using MethodTable = absl::flat_hash_map<absl::string_view, Method>;

Value Index(const Value& self, const Arguments& arguments) {
  const BoundArguments bound("index", arguments, {"value", "start", "stop"}, 1);
  const std::vector<Value> items = ToVector(self);
  const int64_t size = static_cast<int64_t>(items.size());
  const auto clip = [&](size_t at, int64_t fallback) {
    const int64_t index = bound.Index(at, fallback);
    return index < 0 ? std::max<int64_t>(0, index + size) : std::min(index, size);
  };
  for (int64_t i = clip(1, 0); i < clip(2, size); ++i) {
    if (Equal(items[i], bound[0])) return Value::Integer(i);
  }
  throw TemplateError(absl::StrCat(Repr(bound[0]), " is not in ", TypeName(self)));
}

Value Count(const Value& self, const Arguments& arguments) {
  const BoundArguments bound("count", arguments, {"value"}, 1);
  int64_t count = 0;
  for (const Value& item : ToVector(self)) count += Equal(item, bound[0]);
  return Value::Integer(count);
}

Value Copy(const Value& self, const Arguments& arguments) {
  BoundArguments("copy", arguments, {});
  return self;  // values do not change
}

Value Get(const Value& self, const Arguments& arguments) {
  const BoundArguments bound("get", arguments, {"key", "default"}, 1);
  const Value* found = self.dict().Find(bound[0]);
  if (found != nullptr) return *found;
  return bound.Has(1) ? bound[1] : Value::None();
}

template <ViewObject::Kind kind>
Value View(const Value& self, const Arguments& arguments) {
  BoundArguments("dict view", arguments, {});
  return Value::View(std::make_shared<ViewObject>(self, kind));
}

Value IsInteger(const Value& self, const Arguments&) {
  return Value::Bool(std::isfinite(self.real()) && std::floor(self.real()) == self.real());
}

Value BitLength(const Value& self, const Arguments&) {
  int64_t bits = 0;
  for (Int rest = self.integer(); rest != 0; rest /= 2) ++bits;
  return Value::Integer(bits);
}

std::optional<Value> Bind(const Value& object, const std::string& name, const MethodTable& table) {
  const auto found = table.find(name);
  if (found == table.end()) return std::nullopt;
  return MakeFunction(
      name, [object, method = found->second](Interpreter& interpreter, const Arguments& arguments) {
        interpreter.Charge(object.weight() / 256);
        return method(object, arguments);
      });
}

// What ImmutableSandboxedEnvironment gives for a method that would change the object.
std::optional<Value> Unsafe(const Value& object, const std::string& name,
                            const absl::flat_hash_set<absl::string_view>& names) {
  if (!names.contains(name)) return std::nullopt;
  return UndefinedWithHint(absl::StrCat("access to attribute '", name, "' of '", TypeName(object),
                                        "' object is unsafe."));
}

std::optional<Value> FindListMethod(const Value& object, const std::string& name) {
  static const auto& table = *new MethodTable{{"index", Index}, {"count", Count}, {"copy", Copy}};
  static const auto& unsafe = *new absl::flat_hash_set<absl::string_view>{
      "append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"};
  if (auto blocked = Unsafe(object, name, unsafe)) return blocked;
  return Bind(object, name, table);
}

std::optional<Value> FindDictMethod(const Value& object, const std::string& name) {
  static const auto& table = *new MethodTable{{"get", Get},
                                              {"copy", Copy},
                                              {"keys", View<ViewObject::kKeys>},
                                              {"values", View<ViewObject::kValues>},
                                              {"items", View<ViewObject::kItems>}};
  static const auto& unsafe = *new absl::flat_hash_set<absl::string_view>{"clear", "pop", "popitem",
                                                                          "setdefault", "update"};
  if (auto blocked = Unsafe(object, name, unsafe)) return blocked;
  return Bind(object, name, table);
}

std::optional<Value> FindNumberMethod(const Value& object, const std::string& name) {
  static const auto& table = *new MethodTable{{"bit_length", BitLength}, {"conjugate", Copy}};
  static const auto& real = *new MethodTable{{"is_integer", IsInteger}, {"conjugate", Copy}};
  if (name == "real") return Plus(object);
  if (name == "imag") return object.is_float() ? Value::Float(0) : Value::Integer(0);
  if (object.is_float()) return Bind(object, name, real);
  if (name == "numerator") return Plus(object);
  if (name == "denominator") return Value::Integer(1);
  return Bind(object, name, table);
}

}  // namespace

std::optional<Value> FindMethod(const Value& object, const std::string& name) {
  static const auto& sequence = *new MethodTable{{"index", Index}, {"count", Count}};
  switch (object.type()) {
    case Type::kString:
      return FindStringMethod(object, name);
    case Type::kList:
      return FindListMethod(object, name);
    case Type::kDict:
      return FindDictMethod(object, name);
    case Type::kBool:
    case Type::kInt:
    case Type::kFloat:
      return FindNumberMethod(object, name);
    case Type::kTuple:
      if (object.is_group() && name == "grouper") return object.items()[0];
      if (object.is_group() && name == "list") return object.items()[1];
      return Bind(object, name, sequence);
    case Type::kRange:
      if (name == "start") return Value::Integer(object.range().start);
      if (name == "stop") return Value::Integer(object.range().stop);
      if (name == "step") return Value::Integer(object.range().step);
      return Bind(object, name, sequence);
    default:
      return std::nullopt;
  }
}

}  // namespace lockstep::data::jinja
