#include "data/jinja/functions.h"

#include <ctime>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "data/jinja/arguments.h"
#include "data/jinja/objects.h"
#include "data/jinja/operators.h"
#include "data/jinja/repr.h"

namespace lockstep::data::jinja {

namespace {

// dict(mapping or pairs, **keywords)
std::vector<std::pair<Value, Value>> DictItems(const Arguments& arguments) {
  if (arguments.positional.size() > 1) {
    throw TemplateError(
        absl::StrCat("dict expected at most 1 argument, got ", arguments.positional.size()));
  }
  std::vector<std::pair<Value, Value>> items;
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    if (source.is_undefined()) ThrowUndefined(source);
    if (source.is_dict()) {
      items = source.dict().items;
    } else {
      for (const Value& pair : ToVector(source)) {
        const std::vector<Value> two = ToVector(pair);
        if (two.size() != 2) throw TemplateError("dict() wants pairs");
        items.emplace_back(two[0], two[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.keyword) {
    items.emplace_back(Value::String(name), value);
  }
  return items;
}

Value Range(Interpreter&, const Arguments& arguments) {
  const BoundArguments bound("range", arguments, {"start", "stop", "step"}, 1);
  if (!bound.Has(1)) return Value::Range(0, AsInteger(bound[0]), 1);
  return Value::Range(AsInteger(bound[0]), AsInteger(bound[1]),
                      bound.Has(2) ? AsInteger(bound[2]) : 1);
}

Value Dict(Interpreter&, const Arguments& arguments) { return Value::Dict(DictItems(arguments)); }

Value DictFromKeys(Interpreter&, const Arguments& arguments) {
  const BoundArguments bound("fromkeys", arguments, {"iterable", "value"}, 1);
  std::vector<std::pair<Value, Value>> items;
  for (const Value& key : ToVector(bound[0])) {
    items.emplace_back(key, bound.Has(1) ? bound[1] : Value::None());
  }
  return Value::Dict(std::move(items));
}

class DictFunction : public FunctionObject {
 public:
  DictFunction() : FunctionObject("dict", Dict) {}
  std::optional<Value> Attribute(absl::string_view name) override {
    if (name != "fromkeys") return std::nullopt;
    return MakeFunction(name, DictFromKeys);
  }
};

Value Namespace(Interpreter& interpreter, const Arguments& arguments) {
  return interpreter.MakeNamespace(Value::Dict(DictItems(arguments)).dict().items);
}

Value RaiseException(Interpreter&, const Arguments& arguments) {
  const BoundArguments bound("raise_exception", arguments, {"message"}, 1);
  throw TemplateError(Str(bound[0]));
}

Value StrftimeNow(Interpreter& interpreter, const Arguments& arguments) {
  const BoundArguments bound("strftime_now", arguments, {"format"}, 1);
  if (interpreter.options().now.empty()) {
    throw TemplateError("strftime_now: no date is given, and today's would change the text");
  }
  return Value::String(FormatTime(interpreter.options().now, bound.String(0)));
}

Value Lipsum(Interpreter&, const Arguments&) {
  throw TemplateError("lipsum() makes random text: the same data would give other tokens");
}

class CyclerObject : public CustomObject {
 public:
  explicit CyclerObject(std::vector<Value> items) : items_(std::move(items)) {
    depth = Value::List(items_).depth();
  }
  absl::string_view type_name() const override { return "Cycler"; }
  std::string Repr(int) const override { return "<Cycler>"; }
  std::optional<Value> Attribute(absl::string_view name) override {
    if (name == "current") return items_[at_];
    if (name == "items") return Value::Tuple(items_);
    if (name == "pos") return Value::Integer(at_);
    const bool next = name == "next";
    if (!next && name != "reset") return std::nullopt;
    return MakeFunction(name,
                        [this, held = shared_from_this(), next](Interpreter&, const Arguments&) {
                          const Value current = items_[at_];
                          at_ = next ? (at_ + 1) % items_.size() : 0;
                          return next ? current : Value::None();
                        });
  }

 private:
  std::vector<Value> items_;
  size_t at_ = 0;
};

Value Cycler(Interpreter&, const Arguments& arguments) {
  if (arguments.positional.empty()) throw TemplateError("at least one item has to be provided");
  return Value::Custom(std::make_shared<CyclerObject>(arguments.positional));
}

Value Joiner(Interpreter&, const Arguments& arguments) {
  const BoundArguments bound("joiner", arguments, {"sep"});
  const Value separator = bound.Has(0) ? bound[0] : Value::String(", ");
  return MakeFunction(
      "joiner", [separator, used = std::make_shared<bool>(false)](Interpreter&, const Arguments&) {
        return std::exchange(*used, true) ? separator : Value::String("");
      });
}

// The format less what Python's datetime fills in by itself: microseconds, and the zone, which a
// time without one has as an empty text.
std::string WithoutPythonsOwn(const std::string& format) {
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    const char directive = format[i] == '%' && i + 1 < format.size() ? format[++i] : '\0';
    if (directive == '\0') {
      out += format[i];
    } else if (directive == 'f') {
      out += "000000";
    } else if (directive != 'z' && directive != 'Z') {
      out += {'%', directive};
    }
  }
  return out;
}

}  // namespace

std::string FormatTime(const std::string& now, const std::string& format) {
  std::tm time = {};
  const char* rest = strptime(now.c_str(), "%Y-%m-%d", &time);
  if (rest != nullptr && *rest != '\0') rest = strptime(rest, "T%H:%M:%S", &time);
  if (rest == nullptr || *rest != '\0') {
    throw TemplateError(
        absl::StrCat("the date: want YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS, got ", QuoteString(now)));
  }
  // A mark at the end tells an empty result from one that has no room.
  const std::string marked = WithoutPythonsOwn(format) + ".";
  std::string out(marked.size() * 16 + 256, '\0');
  const size_t size = strftime(out.data(), out.size(), marked.c_str(), &time);
  if (size == 0) throw TemplateError("strftime_now: the text is too long");
  out.resize(size - 1);
  return out;
}

std::optional<Value> FindFunction(const std::string& name) {
  if (name == "dict") return Value::Custom(std::make_shared<DictFunction>());
  static const auto& functions =
      *new absl::flat_hash_map<absl::string_view, Value (*)(Interpreter&, const Arguments&)>{
          {"cycler", Cycler},
          {"joiner", Joiner},
          {"lipsum", Lipsum},
          {"namespace", Namespace},
          {"range", Range},
          {"raise_exception", RaiseException},
          {"strftime_now", StrftimeNow},
      };
  const auto found = functions.find(name);
  if (found == functions.end()) return std::nullopt;
  return MakeFunction(name, found->second);
}

}  // namespace lockstep::data::jinja
