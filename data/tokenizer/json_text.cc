#include "data/tokenizer/json_text.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace lockstep::data {
namespace {

// The library quotes all of the string that breaks, a whole chat template perhaps: its end will do.
std::string WithShortQuote(const std::string& problem) {
  constexpr absl::string_view kQuote = "; last read: '";
  constexpr size_t kMost = 40;
  const size_t found = problem.find(kQuote.data(), 0, kQuote.size());
  if (found == std::string::npos || problem.size() - found <= kQuote.size() + kMost) return problem;
  size_t end = problem.size() - kMost;
  while (end < problem.size() && (problem[end] & 0xC0) == 0x80) ++end;  // inside of a character
  return absl::StrCat(problem.substr(0, found), kQuote, "…", problem.substr(end));
}

// Accepts everything and keeps the place of the first error.
struct ProblemFinder : nlohmann::json_sax<nlohmann::json> {
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override { return Enter(); }
  bool key(string_t&) override { return true; }
  bool end_object() override { return Leave(); }
  bool start_array(size_t) override { return Enter(); }
  bool end_array() override { return Leave(); }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::json::exception& e) override {
    byte = position;
    problem = WithShortQuote(e.what());
    return false;
  }
  bool Enter() {
    if (++depth <= simdjson::DEFAULT_MAX_DEPTH) return true;
    problem = absl::StrCat("nested deeper than ", simdjson::DEFAULT_MAX_DEPTH, " levels");
    return false;
  }
  bool Leave() {
    --depth;
    return true;
  }
  size_t depth = 0;
  size_t byte = 0;  // 0: of the whole
  std::string problem;
};

}  // namespace

std::string JsonProblem(absl::string_view json) {
  ProblemFinder finder;
  if (nlohmann::json::sax_parse(json.begin(), json.end(), &finder)) return "";
  if (finder.byte == 0) return finder.problem;
  const size_t byte = std::min(finder.byte, json.size());
  const size_t line = 1 + std::count(json.begin(), json.begin() + byte, '\n');
  // What follows the library's own prefix.
  const size_t text = finder.problem.find(": ", finder.problem.find("column"));
  return absl::StrCat("line ", line, ", byte ", byte, ": ",
                      text == std::string::npos ? finder.problem : finder.problem.substr(text + 2));
}

absl::StatusOr<simdjson::dom::element> ParseJson(simdjson::dom::parser& parser,
                                                 absl::string_view json, absl::string_view where,
                                                 absl::string_view hint) {
  absl::ConsumePrefix(&json, "\xEF\xBB\xBF");
  simdjson::dom::element value;
  if (!parser.parse(json.data(), json.size()).get(value)) return value;
  if (const std::string problem = JsonProblem(json); !problem.empty()) {
    return UserError(where, absl::StrCat("this is not JSON: ", problem), hint);
  }
  const std::string plain = nlohmann::json::parse(json).dump();
  if (const auto error = parser.parse(plain).get(value)) {
    return UserError(where, simdjson::error_message(error), hint);
  }
  return value;
}

std::string QuoteJson(absl::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace lockstep::data
