#include "trainer/flags/help.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/number.h"

namespace lockstep {
namespace {

void Shorten(std::string* value) {
  double number;
  if (absl::SimpleAtod(*value, &number)) *value = ShortestNumber(number);
}

void AppendWrapped(const std::string& text, int indent, int width, std::string* out) {
  int column = width;
  for (const absl::string_view word : absl::StrSplit(text, ' ')) {
    if (column + 1 + static_cast<int>(word.size()) > width) {
      absl::StrAppend(out, column == width && out->back() == '\n' ? "" : "\n",
                      std::string(indent, ' '));
      column = indent;
    } else {
      absl::StrAppend(out, " ");
      ++column;
    }
    absl::StrAppend(out, word);
    column += static_cast<int>(word.size());
  }
  absl::StrAppend(out, "\n");
}

}  // namespace

bool IsOwnFlag(const gflags::CommandLineFlagInfo& flag) {
  return absl::StartsWith(flag.filename, "tools/") || absl::StartsWith(flag.filename, "trainer/");
}

std::vector<gflags::CommandLineFlagInfo> OwnFlags() {
  std::vector<gflags::CommandLineFlagInfo> all, own;
  gflags::GetAllFlags(&all);
  std::copy_if(all.begin(), all.end(), std::back_inserter(own), IsOwnFlag);
  return own;
}

gflags::CommandLineFlagInfo FlagInfo(const char* name) {
  gflags::CommandLineFlagInfo info = gflags::GetCommandLineFlagInfoOrDie(name);
  if (info.type == "double") {
    Shorten(&info.current_value);
    Shorten(&info.default_value);
  }
  return info;
}

std::string FlagHelp(const gflags::CommandLineFlagInfo& flag, int width) {
  std::string text = absl::StrCat("  --", flag.name, flag.default_value.empty() ? "" : "=",
                                  absl::StrReplaceAll(flag.default_value, {{"\n", "\\n"}}), "\n");
  AppendWrapped(flag.description, 6, width, &text);
  return text;
}

std::string ToolHelp(absl::string_view program, absl::string_view usage, int width) {
  const size_t slash = program.rfind('/');  // npos + 1 is 0
  const std::string own = absl::StrCat("tools/", program.substr(slash + 1), ".cc");
  std::vector<gflags::CommandLineFlagInfo> flags = OwnFlags();
  std::stable_partition(flags.begin(), flags.end(),
                        [&](const auto& flag) { return flag.filename == own; });
  std::string text = absl::StrCat(usage, "\n\nFlags:\n");
  for (const gflags::CommandLineFlagInfo& flag : flags) {
    absl::StrAppend(&text, FlagHelp(FlagInfo(flag.name.c_str()), width));
  }
  absl::StrAppend(&text, "  --help, --version, --flagfile=FILE\n");
  return text;
}

int HelpWidth() {
  winsize window{};
  const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col >= 60;
  return known ? std::min<int>(window.ws_col, 110) : 100;
}

}  // namespace lockstep
