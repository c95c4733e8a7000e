// value.h: what Python's type(), hash(), bool(), ==, len() and iter() make of a value.
#include <algorithm>
#include <cmath>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "data/jinja/text.h"
#include "data/jinja/value.h"

namespace lockstep::data::jinja {

namespace {

bool SameItems(const std::vector<Value>& a, const std::vector<Value>& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), Equal);
}

bool SameDicts(const DictObject& a, const DictObject& b) {
  if (a.items.size() != b.items.size()) return false;
  for (const auto& [key, value] : a.items) {
    const Value* other = b.Find(key);
    if (other == nullptr || !Equal(value, *other)) return false;
  }
  return true;
}

// Of dict.keys() or dict.items().
bool SameViews(const ViewObject& a, const ViewObject& b) {
  const DictObject& left = a.dict.dict();
  const DictObject& right = b.dict.dict();
  if (a.kind == ViewObject::kItems) return SameDicts(left, right);
  return left.items.size() == right.items.size() &&
         std::all_of(left.items.begin(), left.items.end(),
                     [&](const auto& item) { return right.Find(item.first) != nullptr; });
}

std::vector<Value> ViewItems(const ViewObject& view) {
  std::vector<Value> out;
  for (const auto& [key, value] : view.dict.dict().items) {
    switch (view.kind) {
      case ViewObject::kKeys:
        out.push_back(key);
        break;
      case ViewObject::kValues:
        out.push_back(value);
        break;
      case ViewObject::kItems:
        out.push_back(Value::Tuple({key, value}));
        break;
    }
  }
  return out;
}

}  // namespace

size_t ValueHash::operator()(const Value& value) const {
  switch (value.type()) {
    case Type::kUndefined:
    case Type::kNone:
      return static_cast<size_t>(value.type());
    case Type::kBool:
    case Type::kInt:
      return absl::HashOf(static_cast<int64_t>(value.integer()));
    case Type::kFloat: {
      const double real = value.real();
      if (std::floor(real) == real && std::abs(real) < 9e18) {
        return absl::HashOf(static_cast<int64_t>(real));  // 1.0 and 1 are one key
      }
      return absl::HashOf(real);
    }
    case Type::kString:
      return absl::HashOf(value.str());
    case Type::kTuple: {
      size_t hash = value.items().size();
      for (const Value& item : value.items()) hash = absl::HashOf(hash, (*this)(item));
      return hash;
    }
    case Type::kRange:
    case Type::kIterator:
    case Type::kCustom:
      return absl::HashOf(value.object());
    default:
      throw SubscriptError(absl::StrCat("unhashable type: '", TypeName(value), "'"));
  }
}

bool ValueEqual::operator()(const Value& a, const Value& b) const { return Equal(a, b); }

absl::string_view TypeName(const Value& value) {
  switch (value.type()) {
    case Type::kUndefined:
      return "Undefined";
    case Type::kNone:
      return "NoneType";
    case Type::kBool:
      return "bool";
    case Type::kInt:
      return "int";
    case Type::kFloat:
      return "float";
    case Type::kString:
      return value.is_markup() ? "Markup" : "str";
    case Type::kList:
      return "list";
    case Type::kTuple:
      return "tuple";
    case Type::kDict:
      return "dict";
    case Type::kView:
      switch (value.view().kind) {
        case ViewObject::kKeys:
          return "dict_keys";
        case ViewObject::kValues:
          return "dict_values";
        case ViewObject::kItems:
          return "dict_items";
      }
      return "";
    case Type::kRange:
      return "range";
    case Type::kIterator:
      return value.iterator().type_name;
    case Type::kCustom:
      return value.custom().type_name();
  }
  return "";
}

bool Truthy(const Value& value) {
  switch (value.type()) {
    case Type::kUndefined:
    case Type::kNone:
      return false;
    case Type::kBool:
    case Type::kInt:
      return value.integer() != 0;
    case Type::kFloat:
      return value.real() != 0;
    default:
      return Length(value).value_or(1) != 0;
  }
}

bool Equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return a.integer() == b.integer();
    return a.as_double() == b.as_double();
  }
  if (a.type() != b.type()) return false;
  switch (a.type()) {
    case Type::kUndefined:
    case Type::kNone:
      return true;
    case Type::kString:
      return a.str() == b.str();
    case Type::kList:
    case Type::kTuple:
      return a.object() == b.object() || SameItems(a.items(), b.items());
    case Type::kDict:
      return a.object() == b.object() || SameDicts(a.dict(), b.dict());
    case Type::kView:
      if (a.view().kind == ViewObject::kValues) return a.object() == b.object();
      return a.view().kind == b.view().kind && SameViews(a.view(), b.view());
    case Type::kRange:
      return SameItems(ToVector(a), ToVector(b));
    default:
      return a.object() == b.object();
  }
}

std::optional<int64_t> Length(const Value& value) {
  switch (value.type()) {
    case Type::kUndefined:
      return 0;
    case Type::kString:
      return value.string_object().length;
    case Type::kList:
    case Type::kTuple:
      return value.items().size();
    case Type::kDict:
      return value.dict().items.size();
    case Type::kView:
      return value.view().dict.dict().items.size();
    case Type::kRange:
      return value.range().size;
    case Type::kCustom:
      return value.custom().Length();
    default:
      return std::nullopt;
  }
}

std::function<bool(Value*)> Iterate(const Value& value) {
  const auto walk = [](Value owner, const std::vector<Value>& items) {
    return [owner = std::move(owner), &items, i = size_t{0}](Value* out) mutable {
      if (i == items.size()) return false;
      *out = items[i++];
      return true;
    };
  };
  const auto walk_copy = [](std::vector<Value> items) {
    return [items = std::move(items), i = size_t{0}](Value* out) mutable {
      if (i == items.size()) return false;
      *out = items[i++];
      return true;
    };
  };
  switch (value.type()) {
    case Type::kUndefined:
      return [](Value*) { return false; };
    case Type::kString:
      return [value, at = size_t{0}](Value* out) mutable {
        const std::string& text = value.str();
        if (at == text.size()) return false;
        const size_t begin = at;
        NextCodePoint(text, &at);
        *out = Value::String(text.substr(begin, at - begin));
        return true;
      };
    case Type::kList:
    case Type::kTuple:
      return walk(value, value.items());
    case Type::kDict:
      return walk_copy(ViewItems(ViewObject(value, ViewObject::kKeys)));
    case Type::kView:
      return walk_copy(ViewItems(value.view()));
    case Type::kRange:
      return [value, i = int64_t{0}](Value* out) mutable {
        const RangeObject& range = value.range();
        if (i == range.size) return false;
        *out = Value::Integer(range.start + range.step * i++);
        return true;
      };
    case Type::kIterator:
      return [value](Value* out) { return value.iterator().next(out); };
    default:
      throw TemplateError(absl::StrCat("'", TypeName(value), "' object is not iterable"));
  }
}

bool IsIterable(const Value& value) {
  switch (value.type()) {
    case Type::kNone:
    case Type::kBool:
    case Type::kInt:
    case Type::kFloat:
    case Type::kCustom:
      return false;
    default:
      return true;
  }
}

void BoundItems(int64_t count) {
  if (count > kMaxItems) throw TemplateError("a value is too large");
}

std::vector<Value> ToVector(const Value& value) {
  if (value.is_sequence()) return value.items();
  std::vector<Value> out;
  const auto next = Iterate(value);
  int64_t weight = 0;
  for (Value item; next(&item);) {
    weight += item.weight();
    if (weight > kMaxWeight) throw TemplateError("a value is too large");
    BoundItems(static_cast<int64_t>(out.size()) + 1);
    out.push_back(std::move(item));
  }
  return out;
}

}  // namespace lockstep::data::jinja
