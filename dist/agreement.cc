#include "dist/agreement.h"

#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status.h"

namespace lockstep::dist {
namespace {

using Facts = std::map<std::string, std::string>;

constexpr char kAgreed[] = "agreed";

std::string Encode(const Facts& facts) {
  std::string text;
  for (const auto& [name, value] : facts) {
    absl::StrAppend(&text, absl::CEscape(name), "\t", absl::CEscape(value), "\n");
  }
  return text;
}

absl::StatusOr<Facts> Decode(absl::string_view text) {
  Facts facts;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> entry =
        absl::StrSplit(line, absl::MaxSplits('\t', 1));
    std::string name, value;
    if (!absl::CUnescape(entry.first, &name) || !absl::CUnescape(entry.second, &value)) {
      return absl::InternalError("malformed facts");
    }
    facts[name] = value;
  }
  return facts;
}

std::string RankList(const std::vector<int>& ranks) {
  constexpr size_t kMax = 12;
  const std::vector<int> shown(ranks.begin(), ranks.begin() + std::min(kMax, ranks.size()));
  return absl::StrCat(
      ranks.size() == 1 ? "rank " : "ranks ", absl::StrJoin(shown, ", "),
      ranks.size() > kMax ? absl::StrCat(" and ", ranks.size() - kMax, " more") : "");
}

// "" or the differences, a line each.
std::string Compare(const std::vector<Facts>& by_rank) {
  std::map<std::string, std::map<std::string, std::vector<int>>> ranks_by_value;
  for (const Facts& facts : by_rank) {
    for (const auto& [name, value] : facts) ranks_by_value[name];
  }
  for (size_t rank = 0; rank < by_rank.size(); ++rank) {
    for (auto& [name, values] : ranks_by_value) {
      const auto found = by_rank[rank].find(name);
      values[found == by_rank[rank].end() ? "nothing" : found->second].push_back(
          static_cast<int>(rank));
    }
  }
  std::vector<std::string> lines;
  for (const auto& [name, values] : ranks_by_value) {
    if (values.size() == 1) continue;
    std::map<int, std::string> parts;  // by the lowest rank
    for (const auto& [value, ranks] : values) {
      parts[ranks.front()] =
          absl::StrCat(RankList(ranks), ranks.size() == 1 ? " has " : " have ", value);
    }
    const auto text_only = [](std::string* out, const auto& part) { out->append(part.second); };
    lines.push_back(absl::StrCat(name, ": ", absl::StrJoin(parts, ", ", text_only)));
  }
  return absl::StrJoin(lines, "\n");
}

// Rank 0 reads everybody's facts and says what it found.
absl::StatusOr<std::string> Judge(StoreClient& store, int world_size, const std::string& prefix,
                                  std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  std::vector<Facts> by_rank;
  std::vector<int> absent;
  for (int rank = 0; rank < world_size; ++rank) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    absl::StatusOr<std::string> text =
        store.Wait(absl::StrCat(prefix, rank), std::max(left, std::chrono::milliseconds(1)));
    if (absl::IsDeadlineExceeded(text.status())) {
      absent.push_back(rank);
      continue;
    }
    if (!text.ok()) return text.status();
    ASSIGN_OR_RETURN(Facts facts, Decode(*text));
    by_rank.push_back(std::move(facts));
  }
  if (!absent.empty()) {
    return absl::DeadlineExceededError(absl::StrCat(
        "[agreement] ", RankList(absent), " did not arrive within ", timeout.count() / 1000, " s"));
  }
  const std::string differences = Compare(by_rank);
  return differences.empty() ? std::string(kAgreed) : differences;
}

}  // namespace

absl::Status Agree(StoreClient& store, int rank, int world_size, const std::string& round,
                   const Facts& facts, std::chrono::milliseconds timeout) {
  const std::string prefix = absl::StrCat("agree/", round, "/");
  RETURN_IF_ERROR(store.Set(absl::StrCat(prefix, rank), Encode(facts)));
  const std::string result_key = absl::StrCat(prefix, "result");
  if (rank == 0) {
    ASSIGN_OR_RETURN(const std::string found, Judge(store, world_size, prefix, timeout));
    RETURN_IF_ERROR(store.Set(result_key, found));
  }
  // Rank 0 says which rank is missing; the others give it time to.
  ASSIGN_OR_RETURN(const std::string result,
                   store.Wait(result_key, timeout + std::chrono::seconds(2)));
  if (result == kAgreed) return absl::OkStatus();
  return UserError("agreement", absl::StrCat("want the same on all ranks, got\n", result),
                   "every node needs the same program, options, model and data");
}

}  // namespace lockstep::dist
