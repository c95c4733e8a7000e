#include "data/tokenizer/pattern.h"

#include <optional>
#include <string>

#include "base/status.h"

namespace lockstep::data {

absl::StatusOr<std::unique_ptr<const Regex>> MakePattern(const Settings& settings) {
  ASSIGN_OR_RETURN(const std::optional<Settings> text, settings.Find("String"));
  if (text) {
    ASSIGN_OR_RETURN(const std::string literal, text->String());
    return Regex::Literal(literal);
  }
  ASSIGN_OR_RETURN(const std::optional<Settings> regex, settings.Find("Regex"));
  if (!regex) return settings.Error("want {\"String\": …} or {\"Regex\": …}");
  ASSIGN_OR_RETURN(const std::string pattern, regex->String());
  absl::StatusOr<std::unique_ptr<const Regex>> compiled = Regex::Compile(pattern);
  if (!compiled.ok()) return regex->Error(compiled.status().message());
  return compiled;
}

}  // namespace lockstep::data
