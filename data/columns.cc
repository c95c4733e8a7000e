#include "data/columns.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status.h"

namespace lockstep::data {

using jinja::Value;

absl::StatusOr<Columns> ParseColumns(absl::string_view flag) {
  Columns out;
  if (flag.empty()) return out;
  for (const absl::string_view part : absl::StrSplit(flag, ',')) {
    const std::vector<std::string> names = absl::StrSplit(part, ':');
    if (names.size() != 2 || names[0].empty() || names[1].empty()) {
      return UserError("--columns", absl::StrCat("want ours:theirs, got '", part, "'"),
                       "for example prompt:question,completion:answer");
    }
    out.emplace_back(names[0], names[1]);
  }
  return out;
}

Value Renamed(const Value& document, const Columns& columns) {
  if (columns.empty()) return document;
  std::vector<std::pair<Value, Value>> items;
  for (const auto& item : document.dict().items) {
    const std::string& name = item.first.str();
    const auto renamed = std::find_if(columns.begin(), columns.end(),
                                      [&](const auto& column) { return column.second == name; });
    const bool hidden = std::any_of(columns.begin(), columns.end(),
                                    [&](const auto& column) { return column.first == name; });
    if (renamed != columns.end()) {
      items.emplace_back(Value::String(renamed->first), item.second);
    } else if (!hidden) {
      items.push_back(item);
    }
  }
  return Value::Dict(std::move(items));
}

absl::Status CheckColumns(const Columns& columns, const std::vector<std::string>& keys) {
  constexpr size_t kMost = 20;  // that are named
  for (const auto& [ours, theirs] : columns) {
    if (std::find(keys.begin(), keys.end(), theirs) != keys.end()) continue;
    const auto end = keys.begin() + std::min(keys.size(), kMost);
    const std::string there = keys.empty() ? "plain text, which has no keys"
                                           : absl::StrCat(absl::StrJoin(keys.begin(), end, ", "),
                                                          keys.size() > kMost ? ", …" : "");
    return UserError(absl::StrCat("--columns=", ours, ":", theirs),
                     absl::StrCat("want documents with the key ", theirs, ", got ", there),
                     "--columns=ours:theirs: the file's own name stands behind the colon");
  }
  return absl::OkStatus();
}

}  // namespace lockstep::data
