#include "trainer/flags/parse_flags.h"

#include <gflags/gflags.h>
#include <simdjson.h>

#include <algorithm>
#include <iterator>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status.h"
#include "trainer/flags/help.h"
#include "trainer/flags/user_path.h"

namespace lockstep {
namespace {

// Edits (insert, delete, replace) that turn a into b.
size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

// Finds a flag that users may set: ours, and those of gflags that ask for something useful.
bool FindFlag(const std::string& name, gflags::CommandLineFlagInfo* info) {
  static const char* const kCommon[] = {"help", "helpfull", "helpshort", "flagfile", "version"};
  return gflags::GetCommandLineFlagInfo(name.c_str(), info) &&
         (IsOwnFlag(*info) || std::count(std::begin(kCommon), std::end(kCommon), name) > 0);
}

// The flags that may be meant by a name that none has; empty if there are too many, or none.
std::vector<std::string> MeantBy(const std::string& name) {
  std::vector<std::string> nearest;  // one at the most
  std::vector<std::string> longer;   // that have a word which begins so: --warmup of --warmup_steps
  std::vector<std::string> siblings;  // with the same first word: --train_data of --train_file
  const std::string first_word = absl::StrCat(name.substr(0, name.find('_')), "_");
  size_t least = std::max<size_t>(2, name.size() / 3) + 1;
  for (const gflags::CommandLineFlagInfo& flag : OwnFlags()) {
    if (const size_t distance = EditDistance(name, flag.name); distance < least) {
      least = distance;
      nearest = {flag.name};
    }
    const std::string words = absl::StrCat("_", flag.name);
    if (name.size() >= 3 && absl::StrContains(words, absl::StrCat("_", name))) {
      longer.push_back(flag.name);
    }
    if (absl::StartsWith(flag.name, first_word)) siblings.push_back(flag.name);
  }
  constexpr size_t kMaxShown = 4;
  for (std::vector<std::string>* meant : {&nearest, &longer, &siblings}) {
    if (!meant->empty() && meant->size() <= kMaxShown) return *meant;
  }
  return {};
}

absl::Status UnknownFlag(absl::string_view where, const std::string& name,
                         const FlagHints& foreign) {
  const std::string problem = absl::StrCat("there is no flag --", name);
  if (const auto known = foreign.find(name); known != foreign.end()) {
    return UserError(where, problem, known->second);
  }
  const std::vector<std::string> meant = MeantBy(name);
  return UserError(where, problem,
                   meant.empty()
                       ? "--help lists the flags"
                       : absl::StrCat("did you mean --", absl::StrJoin(meant, ", --"), "?"));
}

// What gflags calls a type, for people.
std::string KindOfValue(const std::string& type) {
  if (type == "bool") return "true or false";
  if (type == "double") return "a number";
  return type == "uint64" ? "a whole number, at least 0" : "a whole number";
}

// --name="a\nb" of a flag file as the command line would have it.
absl::StatusOr<std::string> WithoutQuotes(absl::string_view where, absl::string_view line) {
  const size_t quote = line.find("=\"");
  if (quote == absl::string_view::npos || quote + 2 >= line.size() || line.back() != '"' ||
      quote != line.find('=')) {
    return std::string(line);
  }
  std::string value, error;
  if (!absl::CUnescape(line.substr(quote + 2, line.size() - quote - 3), &value, &error)) {
    return UserError(where, absl::StrCat("the value in quotes does not parse: ", error),
                     "a \\ in quotes is written \\\\");
  }
  return absl::StrCat(line.substr(0, quote + 1), value);
}

class FlagParser {
 public:
  explicit FlagParser(const FlagHints& foreign) : foreign_(foreign) {}

  // Consumes one argument, and the one behind it (`next`, may be null) if that is its value.
  absl::StatusOr<bool> Consume(absl::string_view where, absl::string_view argument,
                               const char* next) {
    absl::string_view body = argument;
    if (!absl::ConsumePrefix(&body, "--")) absl::ConsumePrefix(&body, "-");
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(body, absl::MaxSplits('=', 1));
    std::string name(parts.first);
    std::replace(name.begin(), name.end(), '-', '_');
    const bool has_value = body.size() > name.size();

    gflags::CommandLineFlagInfo info;
    bool negated = false;
    if (!FindFlag(name, &info)) {
      negated = absl::StartsWith(name, "no") && !has_value && FindFlag(name.substr(2), &info) &&
                info.type == "bool";
      if (!negated) return UnknownFlag(where, name, foreign_);
    }
    if (info.type == "bool" && !has_value) {
      RETURN_IF_ERROR(Set(where, info, negated ? "false" : "true"));
      return false;
    }
    if (!has_value && next == nullptr) {
      return UserError(where, absl::StrCat("--", info.name, " wants a value"),
                       absl::StrCat("--", info.name, "=VALUE. ", info.description));
    }
    RETURN_IF_ERROR(Set(where, info, has_value ? std::string(parts.second) : std::string(next)));
    return !has_value;
  }

 private:
  absl::Status Set(absl::string_view where, const gflags::CommandLineFlagInfo& info,
                   const std::string& value) {
    if (!simdjson::validate_utf8(value)) {
      return UserError(where,
                       absl::StrCat("--", info.name, ": want UTF-8, got ", absl::CHexEscape(value)),
                       "files' names count as well: another encoding's cannot be used");
    }
    if (info.name == "flagfile") return ReadFlagFile(value);
    if (gflags::SetCommandLineOption(info.name.c_str(), value.c_str()).empty()) {
      return UserError(
          where,
          absl::StrCat("--", info.name, ": want ", KindOfValue(info.type), ", got \"", value, "\""),
          info.description);
    }
    return absl::OkStatus();
  }

  absl::Status ReadFlagFile(const std::string& name) {
    if (++flag_file_depth_ > 8) {
      return UserError(name, "flag files include one another without end",
                       "a --flagfile line in a flag file reads that file in its place");
    }
    const std::string path = UserPath(name);
    ASSIGN_OR_RETURN(const std::string content, ReadFile(path));
    int number = 0;
    for (absl::string_view line : absl::StrSplit(content, '\n')) {
      ++number;
      line = absl::StripAsciiWhitespace(line);
      if (line.empty() || line.front() == '#') continue;
      const std::string where = absl::StrCat(path, ":", number);
      if (line.front() != '-') {
        return UserError(where, "want a flag, --name=value", "comments begin with #");
      }
      ASSIGN_OR_RETURN(const std::string flag, WithoutQuotes(where, line));
      RETURN_IF_ERROR(Consume(where, flag, nullptr).status());
    }
    --flag_file_depth_;
    return absl::OkStatus();
  }

  const FlagHints& foreign_;
  int flag_file_depth_ = 0;
};

}  // namespace

absl::StatusOr<std::vector<std::string>> ParseFlags(int argc, char** argv,
                                                    const FlagHints& foreign) {
  FlagParser parser(foreign);
  std::vector<std::string> rest;
  for (int i = 1; i < argc; ++i) {
    const absl::string_view argument = argv[i];
    if (argument == "--") {
      rest.insert(rest.end(), argv + i + 1, argv + argc);
      break;
    }
    if (argument.size() < 2 || argument[0] != '-') {
      rest.emplace_back(argument);
      continue;
    }
    ASSIGN_OR_RETURN(const bool took_next,
                     parser.Consume("flags", argument, i + 1 < argc ? argv[i + 1] : nullptr));
    i += took_next;
  }
  return rest;
}

absl::Status WantNoArguments(const std::vector<std::string>& rest) {
  if (rest.empty()) return absl::OkStatus();
  return UserError("flags", absl::StrCat("want flags only, got \"", rest[0], "\""),
                   "--name=value (true and false too with the =), a value of several words in "
                   "quotes; --help lists the flags");
}

std::string FlagFile(const FlagValues& flags) {
  std::string file;
  for (const auto& [name, value] : flags) {
    const bool plain =
        value.empty() || (value == absl::StripAsciiWhitespace(value) && value.front() != '"' &&
                          value.find_first_of("\n\r") == std::string::npos);
    absl::StrAppend(&file, "--", name, "=",
                    plain ? value : absl::StrCat("\"", absl::Utf8SafeCEscape(value), "\""), "\n");
  }
  return file;
}

}  // namespace lockstep
