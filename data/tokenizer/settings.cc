#include "data/tokenizer/settings.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "data/tokenizer/unicode.h"

namespace lockstep::data {
namespace {

std::string Shortened(const std::string& json) {
  return json.size() <= 60 ? json : absl::StrCat(json.substr(0, 57), "...");
}

}  // namespace

absl::Status Settings::Error(absl::string_view problem, absl::string_view hint) const {
  return UserError(absl::StripSuffix(place_, ":"), problem, hint);
}

absl::Status Settings::Want(absl::string_view wanted) const {
  return Error(absl::StrCat("want ", wanted, ", got ",
                            ReplaceInvalidUtf8(Shortened(simdjson::minify(value_)))));
}

Settings Settings::Member(absl::string_view key, simdjson::dom::element value) const {
  return Settings(absl::StrCat(place_, place_.back() == ':' ? " " : ".", key), value, 0);
}

absl::StatusOr<std::optional<Settings>> Settings::Find(absl::string_view key) const {
  simdjson::dom::object object;
  if (value_.get(object)) return Want("an object");
  std::optional<Settings> found;  // the last of equal keys counts
  for (const auto member : object) {
    if (key == absl::string_view(member.key.data(), member.key.size())) {
      found.reset();
      if (!member.value.is_null()) found = Member(key, member.value);
    }
  }
  return found;
}

absl::StatusOr<Settings> Settings::Get(absl::string_view key) const {
  ASSIGN_OR_RETURN(std::optional<Settings> found, Find(key));
  if (!found) return Error(absl::StrCat("\"", key, "\" is missing"));
  return *std::move(found);
}

absl::StatusOr<std::vector<Settings>> Settings::Elements() const {
  simdjson::dom::array array;
  if (value_.get(array)) return Want("a list");
  std::vector<Settings> elements;
  for (const simdjson::dom::element element : array) {
    elements.push_back(Settings(absl::StrCat(place_, "[", elements.size(), "]"), element, 0));
  }
  return elements;
}

absl::StatusOr<std::vector<std::pair<std::string, Settings>>> Settings::Members() const {
  simdjson::dom::object object;
  if (value_.get(object)) return Want("an object");
  std::vector<std::pair<std::string, Settings>> members;
  for (const auto member : object) {
    const absl::string_view key(member.key.data(), member.key.size());
    members.emplace_back(std::string(key), Member(key, member.value));
  }
  return members;
}

absl::StatusOr<std::string> Settings::String() const {
  std::string_view text;
  if (value_.get(text)) return Want("a string");
  return std::string(text);
}

absl::StatusOr<bool> Settings::Bool() const {
  bool yes;
  if (value_.get(yes)) return Want("true or false");
  return yes;
}

absl::StatusOr<int64_t> Settings::Int() const {
  int64_t number;
  if (value_.get(number) || number < 0) return Want("a whole number from 0");
  return number;
}

absl::StatusOr<std::string> Settings::String(absl::string_view key) const {
  ASSIGN_OR_RETURN(const Settings member, Get(key));
  return member.String();
}

absl::StatusOr<bool> Settings::Bool(absl::string_view key, bool otherwise) const {
  ASSIGN_OR_RETURN(const std::optional<Settings> member, Find(key));
  return member ? member->Bool() : otherwise;
}

absl::StatusOr<char32_t> Settings::Character(absl::string_view key) const {
  ASSIGN_OR_RETURN(const Settings member, Get(key));
  ASSIGN_OR_RETURN(const std::string text, member.String());
  constexpr absl::string_view kWanted = "a string of one character";
  if (text.empty()) return member.Want(kWanted);
  int length;
  const char32_t c = DecodeUtf8(text.data(), &length);
  if (text.size() != static_cast<size_t>(length)) return member.Want(kWanted);
  return c;
}

}  // namespace lockstep::data
