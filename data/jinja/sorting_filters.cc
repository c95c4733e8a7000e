#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_split.h"
#include "data/jinja/arguments.h"
#include "data/jinja/filters.h"
#include "data/jinja/operators.h"
#include "data/jinja/repr.h"
#include "data/jinja/text.h"

namespace lockstep::data::jinja {

namespace {

using Getter = std::function<Value(const Value&)>;

Value IgnoreCase(const Value& value) {
  return value.is_string() ? Value::String(Lower(value.str())) : value;
}

// The key by which sort, min, max, unique and groupby compare.
Getter KeyOf(const Value* attribute, bool case_sensitive, const Value* fallback = nullptr) {
  Getter get = AttributeGetter(attribute != nullptr ? *attribute : Value::None(), fallback);
  if (case_sensitive) return get;
  return [get](const Value& item) { return IgnoreCase(get(item)); };
}

struct Keyed {
  Value key;
  Value item;
};

std::vector<Keyed> Sorted(const Value& value, const Getter& key, bool reverse) {
  std::vector<Keyed> out;
  for (Value& item : ToVector(value)) {
    Value k = key(item);
    out.push_back({std::move(k), std::move(item)});
  }
  std::stable_sort(out.begin(), out.end(), [&](const Keyed& a, const Keyed& b) {
    return reverse ? Less(b.key, a.key) : Less(a.key, b.key);
  });
  return out;
}

std::vector<Value> Items(std::vector<Keyed> keyed) {
  std::vector<Value> out;
  for (Keyed& one : keyed) out.push_back(std::move(one.item));
  return out;
}

Value Sort(Interpreter&, const Value& value, const Arguments& arguments) {
  const BoundArguments bound("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  const bool case_sensitive = bound.Flag(1, false);
  std::vector<Getter> keys;  // "a,b": by a, then by b
  if (bound.HasValue(2) && bound[2].is_string()) {
    for (const absl::string_view part : absl::StrSplit(bound[2].str(), ',')) {
      const Value attribute = Value::String(std::string(part));
      keys.push_back(KeyOf(&attribute, case_sensitive));
    }
  } else {
    keys.push_back(KeyOf(bound.Get(2), case_sensitive));
  }
  const auto key = [&](const Value& item) {
    std::vector<Value> all;
    for (const Getter& get : keys) all.push_back(get(item));
    return Value::List(std::move(all));
  };
  return Value::List(Items(Sorted(value, key, bound.Flag(0, false))));
}

Value DictSort(Interpreter&, const Value& value, const Arguments& arguments) {
  const BoundArguments bound("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const std::string by = bound.Has(1) ? Str(bound[1]) : "key";
  if (by != "key" && by != "value") {
    throw TemplateError("You can only sort by either \"key\" or \"value\"");
  }
  if (value.is_undefined()) ThrowUndefined(value);
  if (!value.is_dict()) throw TemplateError("dictsort wants a dict");
  const bool case_sensitive = bound.Flag(0, false);
  const auto key = [&](const Value& item) {
    const Value& part = item.items()[by == "value"];
    return case_sensitive ? part : IgnoreCase(part);
  };
  const Value items = Value::View(std::make_shared<ViewObject>(value, ViewObject::kItems));
  return Value::List(Items(Sorted(items, key, bound.Flag(2, false))));
}

Value GroupBy(Interpreter&, const Value& value, const Arguments& arguments) {
  const BoundArguments bound("groupby", arguments, {"attribute", "default", "case_sensitive"}, 1);
  const bool case_sensitive = bound.Flag(2, false);
  const Value* fallback = bound.HasValue(1) ? bound.Get(1) : nullptr;
  const std::vector<Keyed> sorted =
      Sorted(value, KeyOf(bound.Get(0), case_sensitive, fallback), /*reverse=*/false);
  const Getter real_key = KeyOf(bound.Get(0), /*case_sensitive=*/true, fallback);
  std::vector<Value> groups;
  for (size_t begin = 0; begin < sorted.size();) {
    std::vector<Value> members;
    size_t end = begin;
    for (; end < sorted.size() && Equal(sorted[end].key, sorted[begin].key); ++end) {
      members.push_back(sorted[end].item);
    }
    if (end == begin) members.push_back(sorted[end++].item);  // NaN is not equal to itself
    Value grouper = real_key(members[0]);
    groups.push_back(Value::Group(std::move(grouper), Value::List(std::move(members))));
    begin = end;
  }
  return Value::List(std::move(groups));
}

Value Unique(Interpreter&, const Value& value, const Arguments& arguments) {
  const BoundArguments bound("unique", arguments, {"case_sensitive", "attribute"});
  const Getter key = KeyOf(bound.Get(1), bound.Flag(0, false));
  auto seen = std::make_shared<absl::flat_hash_set<Value, ValueHash, ValueEqual>>();
  return Generator(value, [next = Iterate(value), key, seen](Value* item) {
    while (next(item)) {
      if (seen->insert(key(*item)).second) return true;
    }
    return false;
  });
}

template <bool largest>
Value Extreme(Interpreter&, const Value& value, const Arguments& arguments) {
  const BoundArguments bound(largest ? "max" : "min", arguments, {"case_sensitive", "attribute"});
  const Getter key = KeyOf(bound.Get(1), bound.Flag(0, false));
  const auto next = Iterate(value);
  Value best;
  if (!next(&best)) return UndefinedWithHint("No aggregated item, sequence was empty.");
  Value best_key = key(best);
  for (Value item; next(&item);) {
    Value item_key = key(item);
    if (largest ? Less(best_key, item_key) : Less(item_key, best_key)) {
      best = std::move(item);
      best_key = std::move(item_key);
    }
  }
  return best;
}

}  // namespace

Filter FindSortingFilter(absl::string_view name) {
  static const auto& filters = *new absl::flat_hash_map<absl::string_view, Filter>{
      {"dictsort", DictSort},  {"groupby", GroupBy}, {"max", Extreme<true>},
      {"min", Extreme<false>}, {"sort", Sort},       {"unique", Unique},
  };
  const auto found = filters.find(name);
  return found == filters.end() ? nullptr : found->second;
}

}  // namespace lockstep::data::jinja
