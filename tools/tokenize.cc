// Tokenizes JSON lines: {"text": …} on standard input becomes {"ids": […]} on standard output; with
// --decode the other way.
#include <gflags/gflags.h>
#include <simdjson.h>

#include <filesystem>
#include <iostream>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/status.h"
#include "data/tokenizer/json_text.h"
#include "data/tokenizer/tokenizer.h"
#include "trainer/flags/flag_values.h"
#include "trainer/flags/model_folder.h"
#include "trainer/flags/program.h"
#include "trainer/flags/user_path.h"

DEFINE_string(model, "", "Folder with tokenizer.json, that file, or a hub id in the local cache.");
DEFINE_bool(special, false, "Put the model's special tokens around each text.");
DEFINE_bool(decode, false, "Read {\"ids\": […]}, write {\"text\": …}; special tokens stay.");
DEFINE_string(
    cache_dir, "",
    "Where large tokenizers are kept in a form that loads faster. Default: they are not.");

namespace lockstep {
namespace {

using data::Tokenizer;
using simdjson::dom::element;

absl::StatusOr<std::string> EncodeLine(const Tokenizer& tokenizer, element line) {
  std::string_view text;
  if (line["text"].get(text)) {
    return UserError("text", "want {\"text\": \"…\"}", "ids become text with --decode");
  }
  ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                   tokenizer.EncodeIds({text.data(), text.size()}, FLAGS_special));
  return absl::StrCat("{\"ids\": [", absl::StrJoin(ids, ", "), "]}");
}

absl::StatusOr<std::string> DecodeLine(const Tokenizer& tokenizer, element line) {
  simdjson::dom::array list;
  if (line["ids"].get(list)) return UserError("ids", "want {\"ids\": [1, 2, …]}");
  std::vector<int32_t> ids;
  for (const element item : list) {
    int64_t id;
    if (item.get(id)) return UserError("ids", "want whole numbers");
    // No token has an id outside of int32; such ids are left out like other unknown ones.
    const bool fits = id >= 0 && id <= std::numeric_limits<int32_t>::max();
    ids.push_back(fits ? static_cast<int32_t>(id) : -1);
  }
  const std::string text = tokenizer.Decode(ids, /*skip_special_tokens=*/false);
  return absl::StrCat("{\"text\": ", data::QuoteJson(text), "}");
}

absl::Status Run() {
  RETURN_IF_ERROR(WantFlags({"model"}));
  ASSIGN_OR_RETURN(std::string path, FindModelFolder(FLAGS_model));
  if (std::filesystem::is_directory(path)) path = JoinPath(path, "tokenizer.json");
  data::TokenizerOptions options;
  options.cache_dir = UserPath(FLAGS_cache_dir);
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, Tokenizer::Load(path, options));

  std::ios::sync_with_stdio(false);
  simdjson::dom::parser parser;
  std::string line;
  for (int64_t number = 1; std::getline(std::cin, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = absl::StrCat("standard input:", number);
    ASSIGN_OR_RETURN(const element json, data::ParseJson(parser, line, where));
    const absl::StatusOr<std::string> result =
        FLAGS_decode ? DecodeLine(*tokenizer, json) : EncodeLine(*tokenizer, json);
    if (!result.ok()) return Annotate(result.status(), where);
    std::cout << *result << '\n';
    if (std::cin.rdbuf()->in_avail() == 0) std::cout.flush();
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  return lockstep::ToolMain(
      argc, argv,
      "Tokenizes JSON lines: {\"text\": …} on standard input becomes {\"ids\": […]} on\n"
      "standard output.\n\n"
      "  tokenize --model=DIR [--special] [--decode] < texts.jsonl",
      lockstep::Run);
}
