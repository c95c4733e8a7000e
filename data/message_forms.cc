#include "data/message_forms.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "data/jinja/json.h"
#include "data/jinja/repr.h"

namespace lockstep::data {
namespace {

using jinja::Value;
using Items = std::vector<std::pair<Value, Value>>;

// `object` with `key`, if it is a dict that has it, mapped by `map`.
template <typename Map>
Value Mapped(const Value& object, absl::string_view key, const Map& map) {
  if (!object.is_dict()) return object;
  Items items = object.dict().items;
  for (auto& [name, value] : items) {
    if (name.str() == key) value = map(value);
  }
  return Value::Dict(std::move(items));
}

template <typename Map>
Value MappedElements(const Value& list, const Map& map) {
  if (!list.is_list()) return list;
  std::vector<Value> out;
  std::transform(list.items().begin(), list.items().end(), std::back_inserter(out), map);
  return Value::List(std::move(out));
}

Value AsObject(const Value& arguments) {
  if (!arguments.is_string()) return arguments;
  const absl::StatusOr<Value> parsed = jinja::ParseJson(arguments.str());
  return parsed.ok() && parsed->is_dict() ? *parsed : arguments;
}

Value AsText(const Value& arguments) {
  return arguments.is_dict() ? Value::String(jinja::ToJson(arguments, {})) : arguments;
}

template <typename Map>
Value WithArguments(const Value& message, const Map& map) {
  const auto in_call = [&](const Value& call) {
    const auto in_function = [&](const Value& function) {
      return Mapped(function, "arguments", map);
    };
    return Mapped(Mapped(call, "function", in_function), "arguments", map);
  };
  return Mapped(message, "tool_calls",
                [&](const Value& calls) { return MappedElements(calls, in_call); });
}

bool HasNoContent(const Value& message) {
  const Value* content = message.Find("content");
  return content == nullptr || content->is_none();
}

Value WithOwnContent(const Value& message) {
  if (!HasNoContent(message)) return message;
  const Value empty = Value::String("");
  if (message.Find("content") != nullptr) {
    return Mapped(message, "content", [&](const Value&) { return empty; });
  }
  Items items = message.dict().items;
  items.emplace_back(Value::String("content"), empty);
  return Value::Dict(std::move(items));
}

bool HasCalls(const Value& message) {
  const Value* calls = message.Find("tool_calls");
  return calls != nullptr && calls->is_list() && !calls->items().empty();
}

}  // namespace

Value WithJoinedParts(const Value& messages) {
  const auto join = [](const Value& content) {
    if (!content.is_list()) return content;
    std::string joined;
    for (const Value& part : content.items()) {
      const Value* type = part.Find("type");
      const Value* text = part.is_string() ? &part : part.Find("text");
      const bool is_text =
          text != nullptr && text->is_string() &&
          (part.is_string() || (type != nullptr && Equal(*type, Value::String("text"))));
      if (!is_text) return content;
      absl::StrAppend(&joined, text->str());
    }
    return Value::String(std::move(joined));
  };
  return MappedElements(messages,
                        [&](const Value& message) { return Mapped(message, "content", join); });
}

Value WithContent(const Value& messages) { return MappedElements(messages, WithOwnContent); }

std::vector<Value> MessageForms(const Value& messages) {
  const auto any = [&](const auto& has) {
    return std::any_of(messages.items().begin(), messages.items().end(), has);
  };
  const bool calls = any(HasCalls);
  std::vector<Value> forms = {messages};
  if (calls) {
    const auto with = [&](const auto& map) {
      return MappedElements(messages, [&](const Value& m) { return WithArguments(m, map); });
    };
    forms = {with(AsObject), with(AsText)};
  }
  if (any(HasNoContent)) {
    for (size_t i = 0, count = forms.size(); i < count; ++i) {
      forms.push_back(WithContent(forms[i]));
    }
  }
  return forms;
}

}  // namespace lockstep::data
