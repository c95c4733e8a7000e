#include "data/jinja/tests.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "data/jinja/arguments.h"
#include "data/jinja/filters.h"
#include "data/jinja/operators.h"
#include "data/jinja/repr.h"
#include "data/jinja/text.h"

namespace lockstep::data::jinja {

namespace {

template <bool (*test)(const Value&)>
bool Plain(const Value& value, const Arguments& arguments) {
  BoundArguments("test", arguments, {});
  return test(value);
}

template <Operator op>
bool Comparing(const Value& value, const Arguments& arguments) {
  const BoundArguments bound("test", arguments, {"other"}, 1);
  return Compare(op, value, bound[0]);
}

bool Remainder(const Value& value, const Value& divisor, Int wanted) {
  return Equal(Arithmetic(Operator::kModulo, value, divisor), Value::Integer(wanted));
}
bool Odd(const Value& value) { return Remainder(value, Value::Integer(2), 1); }
bool Even(const Value& value) { return Remainder(value, Value::Integer(2), 0); }
bool DivisibleBy(const Value& value, const Arguments& arguments) {
  const BoundArguments bound("divisibleby", arguments, {"num"}, 1);
  return Remainder(value, bound[0], 0);
}

bool Defined(const Value& value) { return !value.is_undefined(); }
bool IsUndefined(const Value& value) { return value.is_undefined(); }
bool IsNone(const Value& value) { return value.is_none(); }
bool IsBoolean(const Value& value) { return value.is_bool(); }
bool IsTrue(const Value& value) { return value.is_bool() && value.boolean(); }
bool IsFalse(const Value& value) { return value.is_bool() && !value.boolean(); }
bool IsInteger(const Value& value) { return value.is_int(); }
bool IsFloat(const Value& value) { return value.is_float(); }
bool IsNumber(const Value& value) { return value.is_number(); }
bool IsString(const Value& value) { return value.is_string(); }
bool IsMapping(const Value& value) { return value.is_dict(); }
bool IsEscaped(const Value& value) { return value.is_markup(); }
bool IsSequence(const Value& value) {
  return value.is_string() || value.is_sequence() || value.is_dict() ||
         value.type() == Type::kRange || value.is_undefined();
}
bool IsWalkable(const Value& value) {
  return IsIterable(value) || TypeName(value) == "LoopContext";
}
bool IsCallable(const Value& value) {
  return value.is_undefined() || (value.type() == Type::kCustom && value.custom().callable());
}

template <bool (*wanted)(char32_t), bool (*other)(char32_t)>
bool OneCase(const Value& value) {
  const std::u32string text = Decode(Str(value));
  return std::any_of(text.begin(), text.end(), wanted) &&
         std::none_of(text.begin(), text.end(),
                      [](char32_t code) { return other(code) || IsTitle(code); });
}

bool IsFilter(const Value& value) {
  return value.is_string() && FindFilter(value.str()) != nullptr;
}
bool IsTest(const Value& value) { return value.is_string() && FindTest(value.str()) != nullptr; }

bool SameAs(const Value& value, const Arguments& arguments) {
  const BoundArguments bound("sameas", arguments, {"other"}, 1);
  const Value& other = bound[0];
  if (value.type() != other.type()) return false;
  if (value.object() != nullptr || other.object() != nullptr) {
    // Python shares equal short strings of one program.
    if (value.is_string()) return value.str() == other.str();
    return value.object() == other.object();
  }
  return Equal(value, other);
}

}  // namespace

Test FindTest(absl::string_view name) {
  static const auto& tests = *new absl::flat_hash_map<absl::string_view, Test>{
      {"!=", Comparing<Operator::kNotEqual>},
      {"<", Comparing<Operator::kLess>},
      {"<=", Comparing<Operator::kLessEqual>},
      {"==", Comparing<Operator::kEqual>},
      {">", Comparing<Operator::kGreater>},
      {">=", Comparing<Operator::kGreaterEqual>},
      {"boolean", Plain<IsBoolean>},
      {"callable", Plain<IsCallable>},
      {"defined", Plain<Defined>},
      {"divisibleby", DivisibleBy},
      {"eq", Comparing<Operator::kEqual>},
      {"equalto", Comparing<Operator::kEqual>},
      {"escaped", Plain<IsEscaped>},
      {"even", Plain<Even>},
      {"false", Plain<IsFalse>},
      {"filter", Plain<IsFilter>},
      {"float", Plain<IsFloat>},
      {"ge", Comparing<Operator::kGreaterEqual>},
      {"greaterthan", Comparing<Operator::kGreater>},
      {"gt", Comparing<Operator::kGreater>},
      {"in", Comparing<Operator::kIn>},
      {"integer", Plain<IsInteger>},
      {"iterable", Plain<IsWalkable>},
      {"le", Comparing<Operator::kLessEqual>},
      {"lessthan", Comparing<Operator::kLess>},
      {"lower", Plain<OneCase<IsLower, IsUpper>>},
      {"lt", Comparing<Operator::kLess>},
      {"mapping", Plain<IsMapping>},
      {"ne", Comparing<Operator::kNotEqual>},
      {"none", Plain<IsNone>},
      {"number", Plain<IsNumber>},
      {"odd", Plain<Odd>},
      {"sameas", SameAs},
      {"sequence", Plain<IsSequence>},
      {"string", Plain<IsString>},
      {"test", Plain<IsTest>},
      {"true", Plain<IsTrue>},
      {"undefined", Plain<IsUndefined>},
      {"upper", Plain<OneCase<IsUpper, IsLower>>},
  };
  const auto found = tests.find(name);
  return found == tests.end() ? nullptr : found->second;
}

}  // namespace lockstep::data::jinja
