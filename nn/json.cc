#include "nn/json.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace lockstep::nn {
namespace {

constexpr size_t kMaxDepth = 64;

// Deep nesting is refused before parsing: destroying a value recurses.
bool TooDeep(absl::string_view text) {
  size_t depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxDepth) return true;
    } else if ((c == '}' || c == ']') && depth > 0) {
      --depth;
    }
  }
  return false;
}

}  // namespace

absl::StatusOr<nlohmann::json> ParseJsonObject(absl::string_view text, absl::string_view where) {
  if (TooDeep(text)) {
    return UserError(where, absl::StrCat("nested deeper than ", kMaxDepth, " levels"),
                     "the file is damaged: fetch it again");
  }
  try {
    nlohmann::json value = nlohmann::json::parse(text.begin(), text.end());
    if (value.is_object()) return value;
    return UserError(where, absl::StrCat("want a JSON object, got ", value.type_name()),
                     "the file is damaged: fetch it again");
  } catch (const nlohmann::json::parse_error& error) {
    return UserError(where,
                     error.byte > text.size()
                         ? absl::StrCat("not JSON: it ends too early, at byte ", text.size())
                         : absl::StrCat("not JSON at byte ", error.byte, " of ", text.size()),
                     "the file is damaged or incomplete: fetch it again");
  } catch (const nlohmann::json::exception& error) {
    return UserError(where, absl::StrCat("not JSON: ", error.what()),
                     "the file is damaged: fetch it again");
  }
}

std::string FormatJson(const nlohmann::ordered_json& object) {
  using nlohmann::json;
  return object.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace lockstep::nn
