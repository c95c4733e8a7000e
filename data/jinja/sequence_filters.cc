#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "data/jinja/arguments.h"
#include "data/jinja/filters.h"
#include "data/jinja/operators.h"
#include "data/jinja/repr.h"

namespace lockstep::data::jinja {

namespace {

using Getter = std::function<Value(const Value&)>;

Value Sum(Interpreter&, const Value& value, const Arguments& arguments) {
  const BoundArguments bound("sum", arguments, {"attribute", "start"});
  const Getter get = AttributeGetter(bound.Has(0) ? bound[0] : Value::None(), nullptr);
  Value total = bound.Has(1) ? bound[1] : Value::Integer(0);
  if (total.is_string()) throw TemplateError("sum() can't sum strings");
  const auto next = Iterate(value);
  for (Value item; next(&item);) total = Arithmetic(Operator::kAdd, total, get(item));
  return total;
}

Value Join(Interpreter&, const Value& value, const Arguments& arguments) {
  const BoundArguments bound("join", arguments, {"d", "attribute"});
  const std::string separator = bound.Has(0) ? Str(bound[0]) : "";
  const Getter get = AttributeGetter(bound.Has(1) ? bound[1] : Value::None(), nullptr);
  std::string out;
  bool first = true;
  const auto next = Iterate(value);
  for (Value item; next(&item); first = false) {
    absl::StrAppend(&out, first ? "" : separator, Str(get(item)));
    if (static_cast<int64_t>(out.size()) > kMaxWeight) throw TemplateError("a value is too large");
  }
  return Value::String(std::move(out));
}

Value First(Interpreter&, const Value& value, const Arguments& arguments) {
  BoundArguments("first", arguments, {});
  Value item;
  if (Iterate(value)(&item)) return item;
  return UndefinedWithHint("No first item, sequence was empty.");
}

// reversed(value), of what has an order and a size.
std::optional<std::vector<Value>> Reversed(const Value& value) {
  if (value.type() == Type::kIterator || !IsIterable(value)) return std::nullopt;
  std::vector<Value> items = ToVector(value);
  std::reverse(items.begin(), items.end());
  return items;
}

Value Last(Interpreter&, const Value& value, const Arguments& arguments) {
  BoundArguments("last", arguments, {});
  const std::optional<std::vector<Value>> items = Reversed(value);
  if (!items.has_value()) {
    throw TemplateError(absl::StrCat("'", TypeName(value), "' object is not reversible"));
  }
  return items->empty() ? UndefinedWithHint("No last item, sequence was empty.") : items->front();
}

Value Reverse(Interpreter&, const Value& value, const Arguments& arguments) {
  BoundArguments("reverse", arguments, {});
  if (value.is_string()) {
    return GetSlice(value, Value::None(), Value::None(), Value::Integer(-1));
  }
  if (std::optional<std::vector<Value>> items = Reversed(value)) {
    const Value list = Value::List(*std::move(items));
    return Value::Iterator(
        std::make_shared<IteratorObject>("list_reverseiterator", list.depth(), Iterate(list)));
  }
  if (!IsIterable(value)) throw TemplateError("argument must be iterable");
  std::vector<Value> items = ToVector(value);
  std::reverse(items.begin(), items.end());
  return Value::List(std::move(items));
}

Value Listed(Interpreter&, const Value& value, const Arguments& arguments) {
  BoundArguments("list", arguments, {});
  return Value::List(ToVector(value));
}

Value Size(Interpreter&, const Value& value, const Arguments& arguments) {
  BoundArguments("length", arguments, {});
  if (const std::optional<int64_t> size = Length(value)) return Value::Integer(*size);
  throw TemplateError(absl::StrCat("object of type '", TypeName(value), "' has no len()"));
}

Value ItemsOf(Interpreter&, const Value& value, const Arguments& arguments) {
  BoundArguments("items", arguments, {});
  if (value.is_undefined()) return Generator(value, Iterate(value));
  if (!value.is_dict()) {  // raised when it is walked, as a generator does
    return Generator(value, [](Value*) -> bool {
      throw TemplateError("Can only get item pairs from a mapping.");
    });
  }
  return Generator(value,
                   Iterate(Value::View(std::make_shared<ViewObject>(value, ViewObject::kItems))));
}

Value Batch(Interpreter&, const Value& value, const Arguments& arguments) {
  const BoundArguments bound("batch", arguments, {"linecount", "fill_with"}, 1);
  const int64_t size = bound.Index(0, 1);
  const Value fill = bound.Has(1) ? bound[1] : Value::None();
  return Generator(value, [next = Iterate(value), size, fill, kept = std::optional<Value>(),
                           done = false](Value* out) mutable {
    if (done) return false;
    std::vector<Value> batch;
    if (kept.has_value()) batch.push_back(*std::exchange(kept, std::nullopt));
    for (Value item; next(&item);) {
      if (static_cast<int64_t>(batch.size()) == size) {
        kept = std::move(item);
        *out = Value::List(std::move(batch));
        return true;
      }
      batch.push_back(std::move(item));
    }
    done = true;
    if (batch.empty()) return false;
    if (!fill.is_none()) BoundItems(size);
    while (!fill.is_none() && static_cast<int64_t>(batch.size()) < size) batch.push_back(fill);
    *out = Value::List(std::move(batch));
    return true;
  });
}

Value Slices(Interpreter&, const Value& value, const Arguments& arguments) {
  const BoundArguments bound("slice", arguments, {"slices", "fill_with"}, 1);
  const int64_t slices = bound.Index(0, 1);
  if (slices == 0) throw TemplateError("integer division or modulo by zero");
  if (slices > 1'000'000) throw TemplateError("a value is too large");
  const Value fill = bound.Has(1) ? bound[1] : Value::None();
  const std::vector<Value> items = ToVector(value);
  const int64_t size = static_cast<int64_t>(items.size());
  std::vector<Value> out;
  auto at = items.begin();
  for (int64_t i = 0; i < slices; ++i) {
    const bool extra = i < size % slices;
    std::vector<Value> slice(at, at + size / slices + extra);
    at += static_cast<int64_t>(slice.size());
    if (!fill.is_none() && !extra) slice.push_back(fill);
    out.push_back(Value::List(std::move(slice)));
  }
  const Value list = Value::List(std::move(out));
  return Generator(list, Iterate(list));
}

Value Map(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  if (!Truthy(value)) return Generator(value, [](Value*) { return false; });
  const auto source = std::make_shared<std::function<bool(Value*)>>();
  // Everything is looked at when the first item is wanted, as in a generator.
  return Generator(
      value, [&interpreter, value, arguments, source, get = Getter()](Value* out) mutable {
        if (get == nullptr) {
          *source = Iterate(value);
          const bool by_attribute =
              arguments.positional.empty() &&
              std::any_of(arguments.keyword.begin(), arguments.keyword.end(),
                          [](const auto& keyword) { return keyword.first == "attribute"; });
          if (by_attribute) {
            const BoundArguments bound("map", arguments, {"attribute", "default"}, 1);
            get = AttributeGetter(bound[0], bound.HasValue(1) ? bound.Get(1) : nullptr);
          } else {
            if (arguments.positional.empty()) throw TemplateError("map requires a filter argument");
            const std::string name = Str(arguments.positional[0]);
            Arguments rest = arguments;
            rest.positional.erase(rest.positional.begin());
            get = [&interpreter, name, rest](const Value& item) {
              return interpreter.CallFilter(name, item, rest);
            };
          }
        }
        Value item;
        if (!(*source)(&item)) return false;
        *out = get(item);
        return true;
      });
}

// select, reject, selectattr, rejectattr.
template <bool wanted, bool by_attribute>
Value Select(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  if (!Truthy(value)) return Generator(value, [](Value*) { return false; });
  return Generator(value, [&interpreter, value, arguments = Arguments(arguments),
                           next = std::function<bool(Value*)>(), get = Getter(),
                           name = std::string(), has_test = false](Value* out) mutable {
    if (next == nullptr) {
      if (by_attribute && arguments.positional.empty()) {
        throw TemplateError("Missing parameter for attribute name");
      }
      get = AttributeGetter(by_attribute ? arguments.positional[0] : Value::None(), nullptr);
      if (by_attribute) arguments.positional.erase(arguments.positional.begin());
      has_test = !arguments.positional.empty();
      if (has_test) {
        name = Str(arguments.positional[0]);
        arguments.positional.erase(arguments.positional.begin());
      }
      next = Iterate(value);
    }
    while (next(out)) {
      const Value subject = get(*out);
      const bool passes =
          has_test ? interpreter.CallTest(name, subject, arguments) : Truthy(subject);
      if (passes == wanted) return true;
    }
    return false;
  });
}

}  // namespace

Value Generator(const Value& source, std::function<bool(Value*)> next) {
  return Value::Iterator(
      std::make_shared<IteratorObject>("generator", source.depth(), std::move(next)));
}

std::function<Value(const Value&)> AttributeGetter(const Value& attribute, const Value* fallback) {
  std::vector<Value> parts;
  if (attribute.is_string()) {
    for (const absl::string_view part : absl::StrSplit(attribute.str(), '.')) {
      int64_t index;
      const bool digits = !part.empty() && std::all_of(part.begin(), part.end(),
                                                       [](char c) { return c >= '0' && c <= '9'; });
      parts.push_back(digits && absl::SimpleAtoi(part, &index) ? Value::Integer(index)
                                                               : Value::String(std::string(part)));
    }
  } else if (!attribute.is_none()) {
    parts.push_back(attribute);
  }
  const std::optional<Value> instead =
      fallback != nullptr ? std::optional<Value>(*fallback) : std::nullopt;
  return [parts, instead](const Value& item) {
    Value out = item;
    for (const Value& part : parts) {
      out = GetItem(out, part);
      if (instead.has_value() && out.is_undefined()) out = *instead;
    }
    return out;
  };
}

Filter FindSequenceFilter(absl::string_view name) {
  static const auto& filters = *new absl::flat_hash_map<absl::string_view, Filter>{
      {"batch", Batch},
      {"count", Size},
      {"first", First},
      {"items", ItemsOf},
      {"join", Join},
      {"last", Last},
      {"length", Size},
      {"list", Listed},
      {"map", Map},
      {"reject", Select<false, false>},
      {"rejectattr", Select<false, true>},
      {"reverse", Reverse},
      {"select", Select<true, false>},
      {"selectattr", Select<true, true>},
      {"slice", Slices},
      {"sum", Sum},
  };
  const auto found = filters.find(name);
  return found == filters.end() ? nullptr : found->second;
}

}  // namespace lockstep::data::jinja
