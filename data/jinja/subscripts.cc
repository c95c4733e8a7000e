// operators.h: subscripts, attributes, and what is undefined; operators.cc has the operators.
#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/jinja/methods.h"
#include "data/jinja/operators.h"
#include "data/jinja/repr.h"
#include "data/jinja/text.h"

namespace lockstep::data::jinja {

namespace {

int64_t SliceBound(const Value& bound, int64_t size, int64_t fallback, bool backwards) {
  if (bound.is_none()) return fallback;
  int64_t index = AsIndex(bound);
  if (index < 0) index = std::max<int64_t>(index + size, backwards ? -1 : 0);
  return std::min(index, backwards ? size - 1 : size);
}

// items[key] of a list, tuple, string or range; SubscriptError where Python has an IndexError.
Value ItemAt(const Value& object, const Value& key) {
  if (!key.is_integral()) {
    throw SubscriptError(
        absl::StrCat(TypeName(object), " indices must be integers or slices, not ", TypeName(key)));
  }
  const int64_t size = *Length(object);
  int64_t index = AsIndex(key);
  if (index < 0) index += size;
  if (index < 0 || index >= size) throw SubscriptError("index out of range");
  if (object.is_sequence()) return object.items()[index];
  if (object.type() == Type::kRange) {
    return Value::Integer(object.range().start + object.range().step * index);
  }
  const StringObject& string = object.string_object();
  if (string.ascii) return Text(string.text.substr(index, 1), object);
  const size_t begin = ByteOffset(string.text, index);
  size_t end = begin;
  NextCodePoint(string.text, &end);
  return Text(string.text.substr(begin, end - begin), object);
}

std::optional<Value> FindItem(const Value& object, const Value& key) {
  try {
    switch (object.type()) {
      case Type::kDict: {
        const Value* found = object.dict().Find(key);
        return found != nullptr ? std::optional<Value>(*found) : std::nullopt;
      }
      case Type::kString:
      case Type::kList:
      case Type::kTuple:
      case Type::kRange:
        return ItemAt(object, key);
      default:
        return std::nullopt;
    }
  } catch (const SubscriptError&) {
    return std::nullopt;
  }
}

}  // namespace

std::optional<Value> FindAttribute(const Value& object, const std::string& name) {
  if (object.type() == Type::kCustom) return object.custom().Attribute(name);
  return FindMethod(object, name);
}

Value GetItem(const Value& object, const Value& key) {
  if (object.is_undefined()) ThrowUndefined(object);
  if (std::optional<Value> item = FindItem(object, key)) return *std::move(item);
  if (key.is_string()) {
    if (std::optional<Value> found = FindAttribute(object, key.str())) return *std::move(found);
  }
  return UndefinedAttribute(object, key);
}

Value GetAttribute(const Value& object, const Value& name) {
  if (object.is_undefined()) ThrowUndefined(object);
  if (std::optional<Value> found = FindAttribute(object, name.str())) return *std::move(found);
  if (std::optional<Value> item = FindItem(object, name)) return *std::move(item);
  return UndefinedAttribute(object, name);
}

Value GetSlice(const Value& object, const Value& start, const Value& stop, const Value& step) {
  if (object.is_undefined()) ThrowUndefined(object);
  const bool sliceable =
      object.is_string() || object.is_sequence() || object.type() == Type::kRange;
  if (!sliceable) {
    throw TemplateError(absl::StrCat("'", TypeName(object), "' object is not subscriptable"));
  }
  for (const Value* bound : {&start, &stop, &step}) {
    if (!bound->is_none() && !bound->is_integral()) {
      throw TemplateError("slice indices must be integers or None");
    }
  }
  const int64_t stride = step.is_none() ? 1 : AsIndex(step);
  if (stride == 0) throw TemplateError("slice step cannot be zero");
  const int64_t size = *Length(object);
  const bool back = stride < 0;
  const int64_t begin = SliceBound(start, size, back ? size - 1 : 0, back);
  const int64_t end = SliceBound(stop, size, back ? -1 : size, back);
  if (object.is_string() && stride == 1) {
    const StringObject& string = object.string_object();
    if (begin >= end) return Text("", object);
    const size_t from = string.ascii ? begin : ByteOffset(string.text, begin);
    const absl::string_view rest = absl::string_view(string.text).substr(from);
    const size_t bytes = string.ascii ? end - begin : ByteOffset(rest, end - begin);
    return Text(std::string(rest.substr(0, bytes)), object);
  }
  if (object.type() == Type::kRange) {
    const RangeObject& range = object.range();
    return Value::Range(range.start + begin * range.step, range.start + end * range.step,
                        stride * range.step);
  }
  const std::vector<Value> all = ToVector(object);
  std::vector<Value> picked;
  for (int64_t i = begin; back ? i > end : i < end; i += stride) {
    picked.push_back(all[i]);
    if (stride > size || stride < -size) break;
  }
  if (object.is_string()) {
    std::string out;
    for (const Value& character : picked) out += character.str();
    return Text(std::move(out), object);
  }
  return object.is_tuple() ? Value::Tuple(std::move(picked)) : Value::List(std::move(picked));
}

Value UndefinedWithHint(absl::string_view hint) {
  auto what = std::make_shared<UndefinedObject>();
  what->hint = std::string(hint);
  return Value::Undefined(std::move(what));
}

Value UndefinedVariable(const std::string& name) {
  auto what = std::make_shared<UndefinedObject>();
  what->name = Value::String(name);
  return Value::Undefined(std::move(what));
}

Value UndefinedAttribute(const Value& object, const Value& name) {
  auto what = std::make_shared<UndefinedObject>();
  what->type_name = std::string(TypeName(object));
  if (name.is_string() || name.is_integral()) what->name = name;
  return Value::Undefined(std::move(what));
}

void ThrowUndefined(const Value& undefined) {
  throw TemplateError(undefined.undefined() != nullptr ? undefined.undefined()->Message()
                                                       : "a value is undefined");
}

Int AsInteger(const Value& value) {
  if (value.is_integral()) return value.integer();
  if (value.is_undefined()) ThrowUndefined(value);
  throw TemplateError(
      absl::StrCat("'", TypeName(value), "' object cannot be interpreted as an integer"));
}

int64_t AsIndex(const Value& value) {
  constexpr Int kBound = Int{1} << 62;
  return static_cast<int64_t>(std::clamp(AsInteger(value), -kBound, kBound));
}

Value Text(std::string text, const Value& like) {
  return like.is_markup() ? Value::Markup(std::move(text)) : Value::String(std::move(text));
}

std::string Escaped(const Value& value) {
  return value.is_markup() ? value.str() : EscapeHtml(Str(value));
}

}  // namespace lockstep::data::jinja
