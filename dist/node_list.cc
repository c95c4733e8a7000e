#include "dist/node_list.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace lockstep::dist {
namespace {

constexpr size_t kMaxNames = 100000;

absl::Status Malformed(absl::string_view text, absl::string_view problem) {
  return UserError("Slurm's node list", absl::StrCat("\"", text, "\": ", problem));
}

// "gnode[1,3-4],login" -> {"gnode[1,3-4]", "login"}: commas outside of brackets.
absl::StatusOr<std::vector<absl::string_view>> SplitOutsideBrackets(absl::string_view text) {
  std::vector<absl::string_view> pieces;
  size_t begin = 0;
  bool inside = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '[' || text[i] == ']') {
      if (inside == (text[i] == '[')) return Malformed(text, "unbalanced brackets");
      inside = !inside;
    } else if (text[i] == ',' && !inside) {
      pieces.push_back(text.substr(begin, i - begin));
      begin = i + 1;
    }
  }
  if (inside) return Malformed(text, "unbalanced brackets");
  pieces.push_back(text.substr(begin));
  return pieces;
}

// "08-10,25" -> 08 09 10 25: as many digits as the range's first number has.
absl::StatusOr<std::vector<std::string>> ExpandRanges(absl::string_view ranges) {
  std::vector<std::string> numbers;
  for (const absl::string_view range : absl::StrSplit(ranges, ',')) {
    const std::vector<absl::string_view> ends = absl::StrSplit(range, '-');
    uint32_t first = 0, last = 0;
    if (ends.size() > 2 || !absl::SimpleAtoi(ends.front(), &first) ||
        !absl::SimpleAtoi(ends.back(), &last) || last < first) {
      return Malformed(ranges, absl::StrCat("want a number or a range, got \"", range, "\""));
    }
    if (last - first >= kMaxNames) return Malformed(ranges, "too many nodes");
    for (uint64_t n = first; n <= last; ++n) {
      std::string digits = absl::StrCat(n);
      if (digits.size() < ends.front().size()) {
        digits.insert(0, ends.front().size() - digits.size(), '0');
      }
      numbers.push_back(std::move(digits));
    }
  }
  return numbers;
}

absl::StatusOr<std::vector<std::string>> ExpandName(absl::string_view name) {
  std::vector<std::string> names = {""};
  while (!name.empty()) {
    const size_t open = name.find('[');
    const absl::string_view literal = name.substr(0, open);
    name.remove_prefix(literal.size());
    std::vector<std::string> numbers = {""};
    if (!name.empty()) {
      const size_t close = name.find(']');
      ASSIGN_OR_RETURN(numbers, ExpandRanges(name.substr(1, close - 1)));
      name.remove_prefix(close + 1);
    }
    if (names.size() * numbers.size() > kMaxNames) return Malformed(name, "too many nodes");
    std::vector<std::string> longer;
    for (const std::string& prefix : names) {
      for (const std::string& number : numbers) {
        longer.push_back(absl::StrCat(prefix, literal, number));
      }
    }
    names = std::move(longer);
  }
  return names;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ExpandNodeList(absl::string_view compressed) {
  ASSIGN_OR_RETURN(const auto pieces, SplitOutsideBrackets(compressed));
  std::vector<std::string> names;
  for (const absl::string_view piece : pieces) {
    if (piece.empty()) return Malformed(compressed, "an empty name");
    ASSIGN_OR_RETURN(auto expanded, ExpandName(piece));
    names.insert(names.end(), expanded.begin(), expanded.end());
    if (names.size() > kMaxNames) return Malformed(compressed, "too many nodes");
  }
  return names;
}

absl::StatusOr<std::vector<int>> ExpandTasksPerNode(absl::string_view compressed) {
  std::vector<int> tasks;
  for (absl::string_view piece : absl::StrSplit(compressed, ',')) {
    const std::vector<absl::string_view> parts = absl::StrSplit(piece, absl::MaxSplits("(x", 1));
    int count = 0, repeat = 1;
    bool good = absl::SimpleAtoi(parts[0], &count);
    if (parts.size() == 2) {
      absl::string_view times = parts[1];
      good = good && absl::ConsumeSuffix(&times, ")") && absl::SimpleAtoi(times, &repeat);
    }
    if (!good || count < 1 || repeat < 1 || tasks.size() + repeat > kMaxNames) {
      return UserError("Slurm's tasks per node",
                       absl::StrCat("want e.g. \"2(x3),1\", got \"", compressed, "\""));
    }
    tasks.insert(tasks.end(), repeat, count);
  }
  return tasks;
}

}  // namespace lockstep::dist
