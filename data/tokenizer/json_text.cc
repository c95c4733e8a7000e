#include "data/tokenizer/json_text.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

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
  bool start_object(size_t) override { return true; }
  bool key(string_t&) override { return true; }
  bool end_object() override { return true; }
  bool start_array(size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::json::exception& e) override {
    byte = position;
    problem = WithShortQuote(e.what());
    return false;
  }
  size_t byte = 0;
  std::string problem;
};

}  // namespace

std::string JsonProblem(absl::string_view json) {
  ProblemFinder finder;
  if (nlohmann::json::sax_parse(json.begin(), json.end(), &finder)) return "";
  const size_t byte = std::min(finder.byte, json.size());
  const size_t line = 1 + std::count(json.begin(), json.begin() + byte, '\n');
  // What follows the library's own prefix.
  const size_t text = finder.problem.find(": ", finder.problem.find("column"));
  return absl::StrCat("line ", line, ", byte ", byte, ": ",
                      text == std::string::npos ? finder.problem : finder.problem.substr(text + 2));
}

std::string QuoteJson(absl::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace lockstep::data
