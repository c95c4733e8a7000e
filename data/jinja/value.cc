#include "data/jinja/value.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "data/jinja/repr.h"
#include "data/jinja/text.h"

namespace lockstep::data::jinja {

namespace {

constexpr size_t kLinearDict = 8;  // up to here a dict is searched without an index

void Bound(const Object& object) {
  if (object.depth > kMaxDepth) throw TemplateError("values are nested too deeply");
  if (object.weight > kMaxWeight) throw TemplateError("a value is too large");
}

void Include(Object& object, const Value& part) {
  object.depth = std::max(object.depth, part.depth() + 1);
  object.weight += part.weight();
}

}  // namespace

StringObject::StringObject(std::string utf8) : text(std::move(utf8)) {
  length = CountCodePoints(text);
  ascii = length == static_cast<int64_t>(text.size());
  weight = 1 + static_cast<int64_t>(text.size());
  Bound(*this);
}

SequenceObject::SequenceObject(std::vector<Value> values) : items(std::move(values)) {
  for (const Value& item : items) Include(*this, item);
  Bound(*this);
}

DictObject::DictObject(std::vector<std::pair<Value, Value>> values) {
  items.reserve(values.size());
  const bool indexed = values.size() > kLinearDict;
  for (auto& [key, value] : values) {
    ValueHash()(key);  // throws for an unhashable key
    Value* present = nullptr;
    if (indexed) {
      const auto [at, fresh] = index_.try_emplace(key, items.size());
      if (!fresh) present = &items[at->second].second;
    } else {
      for (auto& item : items) {
        if (Equal(item.first, key)) present = &item.second;
      }
    }
    if (present != nullptr) {
      *present = std::move(value);
    } else {
      items.emplace_back(std::move(key), std::move(value));
    }
  }
  for (const auto& [key, value] : items) {
    Include(*this, key);
    Include(*this, value);
  }
  Bound(*this);
}

const Value* DictObject::Find(const Value& key) const {
  ValueHash()(key);
  if (!index_.empty()) {
    const auto found = index_.find(key);
    return found == index_.end() ? nullptr : &items[found->second].second;
  }
  for (const auto& item : items) {
    if (Equal(item.first, key)) return &item.second;
  }
  return nullptr;
}

const Value* DictObject::Find(absl::string_view key) const {
  if (!index_.empty()) return Find(Value::String(std::string(key)));
  for (const auto& item : items) {
    if (item.first.is_string() && item.first.str() == key) return &item.second;
  }
  return nullptr;
}

ViewObject::ViewObject(Value of, Kind kind) : dict(std::move(of)), kind(kind) {
  Include(*this, dict);
  Bound(*this);
}

IteratorObject::IteratorObject(absl::string_view type_name, int below,
                               std::function<bool(Value*)> next)
    : type_name(type_name), next(std::move(next)) {
  depth = below + 1;
  Bound(*this);
}

std::string UndefinedObject::Message() const {
  if (!hint.empty()) return hint;
  const std::string quoted = name.is_string() ? absl::StrCat("'", name.str(), "'") : "";
  if (type_name.empty()) return absl::StrCat(quoted, " is undefined");
  const std::string what = type_name == "NoneType" ? "None" : absl::StrCat(type_name, " object");
  if (name.is_string()) return absl::StrCat("'", what, "' has no attribute ", quoted);
  return absl::StrCat(what, " has no element ", Repr(name));
}

std::optional<Value> CustomObject::Attribute(absl::string_view) { return std::nullopt; }

Value CustomObject::Call(Interpreter&, const Arguments&) {
  throw TemplateError(absl::StrCat("'", type_name(), "' object is not callable"));
}

Value Value::Undefined() { return Value(Type::kUndefined, nullptr); }
Value Value::Undefined(std::shared_ptr<const UndefinedObject> what) {
  return Value(Type::kUndefined, std::const_pointer_cast<UndefinedObject>(what));
}
Value Value::Bool(bool value) {
  Value out(Type::kBool, nullptr);
  out.integer_ = value;
  return out;
}
Value Value::Integer(Int value) {
  Value out(Type::kInt, nullptr);
  out.integer_ = value;
  return out;
}
Value Value::Float(double value) {
  Value out(Type::kFloat, nullptr);
  out.real_ = value;
  return out;
}
Value Value::String(std::string utf8) {
  return Value(Type::kString, std::make_shared<StringObject>(std::move(utf8)));
}
Value Value::Markup(std::string utf8) {
  Value out = String(std::move(utf8));
  out.flag_ = true;
  return out;
}
Value Value::List(std::vector<Value> items) {
  return Value(Type::kList, std::make_shared<SequenceObject>(std::move(items)));
}
Value Value::Tuple(std::vector<Value> items) {
  return Value(Type::kTuple, std::make_shared<SequenceObject>(std::move(items)));
}
Value Value::Group(Value grouper, Value list) {
  Value out = Tuple({std::move(grouper), std::move(list)});
  out.flag_ = true;
  return out;
}
Value Value::Dict(std::vector<std::pair<Value, Value>> items) {
  return Value(Type::kDict, std::make_shared<DictObject>(std::move(items)));
}
Value Value::View(std::shared_ptr<const ViewObject> view) {
  return Value(Type::kView, std::const_pointer_cast<ViewObject>(view));
}
Value Value::Range(Int start, Int stop, Int step) {
  if (step == 0) throw TemplateError("range() arg 3 must not be zero");
  Int size = 0;
  if (step > 0 && start < stop) size = (stop - start - 1) / step + 1;
  if (step < 0 && start > stop) size = (start - stop - 1) / -step + 1;
  if (size > 100000) {
    throw TemplateError("Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).");
  }
  auto range = std::make_shared<RangeObject>();
  range->start = start;
  range->stop = stop;
  range->step = step;
  range->size = static_cast<int64_t>(size);
  range->weight = 1 + range->size;
  return Value(Type::kRange, std::move(range));
}
Value Value::Iterator(std::shared_ptr<IteratorObject> iterator) {
  return Value(Type::kIterator, std::move(iterator));
}
Value Value::Custom(std::shared_ptr<CustomObject> object) {
  return Value(Type::kCustom, std::move(object));
}

const StringObject& Value::string_object() const {
  return static_cast<const StringObject&>(*object_);
}
const std::string& Value::str() const { return string_object().text; }
const std::vector<Value>& Value::items() const {
  return static_cast<const SequenceObject&>(*object_).items;
}
const DictObject& Value::dict() const { return static_cast<const DictObject&>(*object_); }
const ViewObject& Value::view() const { return static_cast<const ViewObject&>(*object_); }
const RangeObject& Value::range() const { return static_cast<const RangeObject&>(*object_); }
IteratorObject& Value::iterator() const { return static_cast<IteratorObject&>(*object_); }
CustomObject& Value::custom() const { return static_cast<CustomObject&>(*object_); }
const UndefinedObject* Value::undefined() const {
  return static_cast<const UndefinedObject*>(object_.get());
}

const Value* Value::Find(absl::string_view key) const {
  return is_dict() ? dict().Find(key) : nullptr;
}

}  // namespace lockstep::data::jinja
