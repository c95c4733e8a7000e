// Python values as templates see them.
//
// A Value is None, a bool, an int (128 bits; beyond that is an error, never a wrap), a float, a
// string (UTF-8), a list, a tuple, a dict (insertion-ordered), an undefined, or an object of the
// engine (iterator, dict view, range, namespace, loop, macro, function). It is cheap to copy:
// containers and strings are shared. All but namespaces, iterators and loops are immutable, so
// values made from JSON may be shared by threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace lockstep::data::jinja {

using Int = __int128;

// Thrown inside the engine only; Template::Parse and Render turn it into a Status. `line` is that
// of the innermost statement or expression, 0 until it is known.
class TemplateError : public std::runtime_error {
 public:
  explicit TemplateError(const std::string& message, int line = 0)
      : std::runtime_error(message), line(line) {}
  int line;
};

// What Python calls a TypeError or a LookupError in a subscript, which a template may survive.
class SubscriptError : public TemplateError {
 public:
  using TemplateError::TemplateError;
};

class Interpreter;
struct Arguments;
class Value;

// The shared part of a value. `depth` and `weight` (nested values and bytes, counted as often as
// they are reached) are bounded when a container is made, which bounds every walk over it.
struct Object {
  virtual ~Object() = default;
  int depth = 1;
  int64_t weight = 1;
};

struct StringObject;
struct SequenceObject;
struct DictObject;
struct IteratorObject;
struct ViewObject;
struct RangeObject;
struct UndefinedObject;
class CustomObject;

enum class Type : uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kList,
  kTuple,
  kDict,
  kView,  // dict.keys(), .values(), .items()
  kRange,
  kIterator,  // generators and other things that can be walked once
  kCustom,    // namespaces, loops, macros, functions, methods
};

class Value {
 public:
  Value() : type_(Type::kNone) {}  // None
  static Value None() { return Value(); }
  static Value Undefined();
  static Value Undefined(std::shared_ptr<const UndefinedObject> what);
  static Value Bool(bool value);
  static Value Integer(Int value);
  static Value Float(double value);
  static Value String(std::string utf8);
  // A string that counts as escaped HTML: what the filters `safe` and `escape` give.
  static Value Markup(std::string utf8);
  static Value List(std::vector<Value> items);
  static Value Tuple(std::vector<Value> items);
  // The tuple (grouper, list) of the filter `groupby`, whose items have these names too.
  static Value Group(Value grouper, Value list);
  // Later values of a key replace earlier ones, which keep their place. Keys must be hashable.
  static Value Dict(std::vector<std::pair<Value, Value>> items);
  static Value View(std::shared_ptr<const ViewObject> view);
  static Value Range(Int start, Int stop, Int step);
  static Value Iterator(std::shared_ptr<IteratorObject> iterator);
  static Value Custom(std::shared_ptr<CustomObject> object);

  Type type() const { return type_; }
  bool is_undefined() const { return type_ == Type::kUndefined; }
  bool is_none() const { return type_ == Type::kNone; }
  bool is_bool() const { return type_ == Type::kBool; }
  bool is_int() const { return type_ == Type::kInt; }
  bool is_integral() const { return type_ == Type::kInt || type_ == Type::kBool; }
  bool is_float() const { return type_ == Type::kFloat; }
  bool is_number() const { return is_integral() || is_float(); }
  bool is_string() const { return type_ == Type::kString; }
  bool is_markup() const { return is_string() && flag_; }
  bool is_group() const { return is_tuple() && flag_; }
  bool is_list() const { return type_ == Type::kList; }
  bool is_tuple() const { return type_ == Type::kTuple; }
  bool is_sequence() const { return is_list() || is_tuple(); }
  bool is_dict() const { return type_ == Type::kDict; }

  // Each accessor may be called for its type alone (integer() also for a bool).
  bool boolean() const { return integer_ != 0; }
  Int integer() const { return integer_; }
  double real() const { return real_; }
  double as_double() const { return is_float() ? real_ : static_cast<double>(integer_); }
  const std::string& str() const;
  const StringObject& string_object() const;
  const std::vector<Value>& items() const;  // of a list or a tuple
  const DictObject& dict() const;
  const ViewObject& view() const;
  const RangeObject& range() const;
  IteratorObject& iterator() const;
  CustomObject& custom() const;
  const UndefinedObject* undefined() const;

  // The value of a dict's string key; null if this is no dict or has no such key.
  const Value* Find(absl::string_view key) const;

  const Object* object() const { return object_.get(); }
  int depth() const { return object_ ? object_->depth : 0; }
  int64_t weight() const { return object_ ? object_->weight : 1; }

 private:
  Value(Type type, std::shared_ptr<Object> object) : type_(type), object_(std::move(object)) {}

  Type type_;
  bool flag_ = false;  // of a string: Markup; of a tuple: a group
  union {
    Int integer_ = 0;
    double real_;
  };
  std::shared_ptr<Object> object_;
};

struct StringObject : Object {
  explicit StringObject(std::string utf8);
  std::string text;
  bool ascii;
  int64_t length;  // code points
};

struct SequenceObject : Object {
  explicit SequenceObject(std::vector<Value> values);
  std::vector<Value> items;
};

struct ValueHash {
  size_t operator()(const Value& value) const;  // throws for an unhashable value
};
struct ValueEqual {
  bool operator()(const Value& a, const Value& b) const;
};

struct DictObject : Object {
  explicit DictObject(std::vector<std::pair<Value, Value>> values);
  const Value* Find(const Value& key) const;
  const Value* Find(absl::string_view key) const;
  std::vector<std::pair<Value, Value>> items;

 private:
  absl::flat_hash_map<Value, size_t, ValueHash, ValueEqual> index_;  // of larger dicts
};

struct ViewObject : Object {
  enum Kind { kKeys, kValues, kItems };
  ViewObject(Value dict, Kind kind);
  Value dict;
  Kind kind;
};

struct RangeObject : Object {
  Int start, stop, step;
  int64_t size;
};

// Something that is walked once; `next` gives false at its end.
struct IteratorObject : Object {
  IteratorObject(absl::string_view type_name, int depth, std::function<bool(Value*)> next);
  std::string type_name;
  std::function<bool(Value*)> next;
};

// Why a value is undefined; the text is what Jinja would say when it is used.
struct UndefinedObject : Object {
  std::string hint;       // the whole text, or empty: composed of the two below
  std::string type_name;  // of the object without that attribute; empty: a variable
  Value name;
  std::string Message() const;
};

// An object of the engine with behavior of its own.
class CustomObject : public Object, public std::enable_shared_from_this<CustomObject> {
 public:
  virtual absl::string_view type_name() const = 0;
  virtual std::string Repr(int depth) const = 0;                   // depth: of what is around it
  virtual std::optional<Value> Attribute(absl::string_view name);  // default: none
  virtual std::optional<int64_t> Length() { return std::nullopt; }
  virtual bool callable() const { return false; }
  virtual Value Call(Interpreter& interpreter, const Arguments& arguments);  // default: throws
};

// Positional and keyword arguments of a call.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keyword;
};

// type(value).__name__
absl::string_view TypeName(const Value& value);

// bool(value)
bool Truthy(const Value& value);

// value == other, with Python's rules between types (1 == 1.0 == True).
bool Equal(const Value& a, const Value& b);

// len(value); nothing if it has none.
std::optional<int64_t> Length(const Value& value);

// iter(value): throws for what cannot be walked.
std::function<bool(Value*)> Iterate(const Value& value);
bool IsIterable(const Value& value);
std::vector<Value> ToVector(const Value& value);

// Bounds on what one container or string may hold (nesting, and values and bytes inside it).
inline constexpr int kMaxDepth = 500;
inline constexpr int64_t kMaxWeight = int64_t{1} << 29;
// And on the items of a list that a template makes: each costs some hundred bytes of memory.
inline constexpr int64_t kMaxItems = int64_t{1} << 22;
void BoundItems(int64_t count);  // throws

}  // namespace lockstep::data::jinja
