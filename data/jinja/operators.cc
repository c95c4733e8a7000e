#include "data/jinja/operators.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "data/jinja/format.h"

namespace lockstep::data::jinja {

namespace {

[[noreturn]] void Unsupported(absl::string_view op, const Value& a, const Value& b) {
  if (a.is_undefined()) ThrowUndefined(a);
  if (b.is_undefined()) ThrowUndefined(b);
  throw TemplateError(absl::StrCat("unsupported operand type(s) for ", op, ": '", TypeName(a),
                                   "' and '", TypeName(b), "'"));
}

[[noreturn]] void Overflow() { throw TemplateError("an integer is out of range (128 bits)"); }

Int FloorDivide(Int a, Int b) {
  const Int quotient = a / b;
  return quotient - (a % b != 0 && (a < 0) != (b < 0));
}

double FloorModulo(double a, double b) {
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  return rest == 0 ? std::copysign(0.0, b) : rest;
}

double FloorDivide(double a, double b) {
  const double rest = std::fmod(a, b);
  double quotient = std::round((a - rest) / b);  // nearly whole
  if (rest != 0 && (rest < 0) != (b < 0)) quotient -= 1;
  return quotient == 0 ? std::copysign(0.0, a / b) : quotient;
}

Value IntegerPower(Int base, Int exponent) {
  if (exponent < 0) {
    if (base == 0) throw TemplateError("0.0 cannot be raised to a negative power");
    return Value::Float(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  if (base == 0 || base == 1) return Value::Integer(exponent == 0 ? 1 : base);
  if (base == -1) return Value::Integer(exponent % 2 == 0 ? 1 : -1);
  Int out = 1;
  for (Int i = 0; i < exponent; ++i) {
    if (__builtin_mul_overflow(out, base, &out)) Overflow();
  }
  return Value::Integer(out);
}

Value IntegerArithmetic(Operator op, Int a, Int b) {
  Int out;
  switch (op) {
    case Operator::kAdd:
      if (__builtin_add_overflow(a, b, &out)) Overflow();
      return Value::Integer(out);
    case Operator::kSubtract:
      if (__builtin_sub_overflow(a, b, &out)) Overflow();
      return Value::Integer(out);
    case Operator::kMultiply:
      if (__builtin_mul_overflow(a, b, &out)) Overflow();
      return Value::Integer(out);
    case Operator::kPower:
      return IntegerPower(a, b);
    default:
      break;
  }
  if (b == 0) {
    throw TemplateError(op == Operator::kDivide   ? "division by zero"
                        : op == Operator::kModulo ? "integer modulo by zero"
                                                  : "integer division or modulo by zero");
  }
  if (op == Operator::kDivide) {
    return Value::Float(static_cast<double>(static_cast<long double>(a) / b));
  }
  if (b == -1 && a == std::numeric_limits<Int>::min()) Overflow();
  if (op == Operator::kFloorDivide) return Value::Integer(FloorDivide(a, b));
  return Value::Integer(a - FloorDivide(a, b) * b);
}

Value FloatArithmetic(Operator op, double a, double b) {
  switch (op) {
    case Operator::kAdd:
      return Value::Float(a + b);
    case Operator::kSubtract:
      return Value::Float(a - b);
    case Operator::kMultiply:
      return Value::Float(a * b);
    case Operator::kPower: {
      if (a == 0 && b < 0) throw TemplateError("0.0 cannot be raised to a negative power");
      const double out = std::pow(a, b);
      if (std::isnan(out) && !std::isnan(a) && !std::isnan(b)) {
        throw TemplateError("a negative number cannot be raised to a fractional power");
      }
      if (std::isinf(out) && std::isfinite(a) && std::isfinite(b)) {
        throw TemplateError("(34, 'Numerical result out of range')");
      }
      return Value::Float(out);
    }
    default:
      break;
  }
  if (b == 0) {
    throw TemplateError(op == Operator::kDivide   ? "float division by zero"
                        : op == Operator::kModulo ? "float modulo"
                                                  : "float floor division by zero");
  }
  if (op == Operator::kDivide) return Value::Float(a / b);
  if (op == Operator::kModulo) return Value::Float(FloorModulo(a, b));
  return Value::Float(FloorDivide(a, b));
}

Value Repeat(const Value& what, Int count) {
  if (count < 0) count = 0;
  if (count > 0 && what.weight() > kMaxWeight / std::min<Int>(count, kMaxWeight)) {
    throw TemplateError("a value is too large");
  }
  if (what.is_string()) {
    const size_t size = what.str().size() * static_cast<size_t>(count);
    std::string out(what.str(), 0, size);
    while (out.size() < size) out.append(out, 0, size - out.size());  // doubles
    return Text(std::move(out), what);
  }
  std::vector<Value> items;
  BoundItems(static_cast<int64_t>(count) * static_cast<int64_t>(what.items().size()));
  for (Int i = 0; i < count && !what.items().empty(); ++i) {
    items.insert(items.end(), what.items().begin(), what.items().end());
  }
  return what.is_list() ? Value::List(std::move(items)) : Value::Tuple(std::move(items));
}

Value Add(const Value& a, const Value& b) {
  if (a.is_string() && b.is_string()) {
    if (a.is_markup() || b.is_markup()) return Value::Markup(Escaped(a) + Escaped(b));
    return Value::String(absl::StrCat(a.str(), b.str()));
  }
  if (a.type() == b.type() && a.is_sequence()) {
    BoundItems(static_cast<int64_t>(a.items().size() + b.items().size()));
    std::vector<Value> items = a.items();
    items.insert(items.end(), b.items().begin(), b.items().end());
    return a.is_list() ? Value::List(std::move(items)) : Value::Tuple(std::move(items));
  }
  if (a.is_undefined() || b.is_undefined()) Unsupported("+", a, b);
  if (a.is_string()) {
    throw TemplateError(
        absl::StrCat("can only concatenate str (not \"", TypeName(b), "\") to str"));
  }
  if (a.is_sequence()) {
    throw TemplateError(absl::StrCat("can only concatenate ", TypeName(a), " (not \"", TypeName(b),
                                     "\") to ", TypeName(a)));
  }
  Unsupported("+", a, b);
}

constexpr absl::string_view kSymbols[] = {
    "+", "-", "*", "/", "//", "%", "** or pow()", "==", "!=", "<", "<=", ">", ">=", "in", "not in"};

// −1, 0 or 1; 2 where a NaN is compared.
int Order(Operator op, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) {
      return a.integer() < b.integer() ? -1 : a.integer() > b.integer();
    }
    const double x = a.as_double(), y = b.as_double();
    if (std::isnan(x) || std::isnan(y)) return 2;
    return x < y ? -1 : x > y;
  }
  if (a.is_string() && b.is_string()) {  // UTF-8's byte order is that of its code points
    const int order = a.str().compare(b.str());
    return order < 0 ? -1 : order > 0;
  }
  if (a.type() == b.type() && a.is_sequence()) {
    const size_t common = std::min(a.items().size(), b.items().size());
    for (size_t i = 0; i < common; ++i) {
      if (!Equal(a.items()[i], b.items()[i])) return Order(op, a.items()[i], b.items()[i]);
    }
    return a.items().size() < b.items().size() ? -1 : a.items().size() > b.items().size();
  }
  if (a.is_undefined()) ThrowUndefined(a);
  if (b.is_undefined()) ThrowUndefined(b);
  throw TemplateError(absl::StrCat("'", kSymbols[static_cast<int>(op)],
                                   "' not supported between instances of '", TypeName(a), "' and '",
                                   TypeName(b), "'"));
}

}  // namespace

Value Arithmetic(Operator op, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return IntegerArithmetic(op, a.integer(), b.integer());
    return FloatArithmetic(op, a.as_double(), b.as_double());
  }
  if (op == Operator::kAdd) return Add(a, b);
  if (op == Operator::kMultiply) {
    const auto repeatable = [](const Value& value) {
      return value.is_string() || value.is_sequence();
    };
    if (repeatable(a) && b.is_integral()) return Repeat(a, b.integer());
    if (repeatable(b) && a.is_integral()) return Repeat(b, a.integer());
    if ((repeatable(a) || repeatable(b)) && !a.is_undefined() && !b.is_undefined()) {
      throw TemplateError(absl::StrCat("can't multiply sequence by non-int of type '",
                                       TypeName(repeatable(a) ? b : a), "'"));
    }
  }
  if (op == Operator::kModulo && a.is_string() && !b.is_undefined()) return PercentFormat(a, b);
  Unsupported(kSymbols[static_cast<int>(op)], a, b);
}

bool Compare(Operator op, const Value& a, const Value& b) {
  switch (op) {
    case Operator::kEqual:
      return Equal(a, b);
    case Operator::kNotEqual:
      return !Equal(a, b);
    case Operator::kIn:
      return Contains(b, a);
    case Operator::kNotIn:
      return !Contains(b, a);
    default:
      break;
  }
  const int order = Order(op, a, b);
  if (order == 2) return false;
  switch (op) {
    case Operator::kLess:
      return order < 0;
    case Operator::kLessEqual:
      return order <= 0;
    case Operator::kGreater:
      return order > 0;
    default:
      return order >= 0;
  }
}

Value Negate(const Value& value) {
  if (value.is_float()) return Value::Float(-value.real());
  if (value.is_integral()) return IntegerArithmetic(Operator::kSubtract, 0, value.integer());
  if (value.is_undefined()) ThrowUndefined(value);
  throw TemplateError(absl::StrCat("bad operand type for unary -: '", TypeName(value), "'"));
}

Value Plus(const Value& value) {
  if (value.is_float()) return value;
  if (value.is_integral()) return Value::Integer(value.integer());
  if (value.is_undefined()) ThrowUndefined(value);
  throw TemplateError(absl::StrCat("bad operand type for unary +: '", TypeName(value), "'"));
}

bool Less(const Value& a, const Value& b) { return Order(Operator::kLess, a, b) == -1; }

bool Contains(const Value& container, const Value& item) {
  switch (container.type()) {
    case Type::kString:
      if (!item.is_string()) {
        throw TemplateError(
            absl::StrCat("'in <string>' requires string as left operand, not ", TypeName(item)));
      }
      return container.str().find(item.str()) != std::string::npos;
    case Type::kDict:
      return container.dict().Find(item) != nullptr;
    case Type::kView:
      if (container.view().kind == ViewObject::kKeys) {
        return container.view().dict.dict().Find(item) != nullptr;
      }
      break;
    case Type::kNone:
    case Type::kBool:
    case Type::kInt:
    case Type::kFloat:
    case Type::kCustom:
      throw TemplateError(
          absl::StrCat("argument of type '", TypeName(container), "' is not iterable"));
    default:
      break;
  }
  const auto next = Iterate(container);
  for (Value candidate; next(&candidate);) {
    if (Equal(candidate, item)) return true;
  }
  return false;
}

}  // namespace lockstep::data::jinja
