#include "data/tokenizer/tokenizer_file.h"

#include <simdjson.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/json_text.h"
#include "data/tokenizer/settings.h"

namespace lockstep::data {
namespace {

using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::object;

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

absl::Status ReadVocab(const Settings& model, ModelTables::Source* source) {
  ASSIGN_OR_RETURN(const Settings vocab, model.Get("vocab"));
  object members;
  if (vocab.value().get(members)) {
    return vocab.Error("want an object of tokens and ids",
                       "only models of the type BPE are supported");
  }
  source->vocab.reserve(members.size());
  for (const auto member : members) {
    int64_t id;
    if (member.value.get(id) || id < 0 || id > ModelTables::kMaxId) {
      return vocab.Error(absl::StrCat("the id of \"", View(member.key),
                                      "\": want a whole number from 0 to ", ModelTables::kMaxId,
                                      ", got ",
                                      std::string(simdjson::minify(member.value)).substr(0, 60)));
    }
    source->vocab.emplace_back(View(member.key), static_cast<int32_t>(id));
  }
  return absl::OkStatus();
}

// "a b", or ["a", "b"].
bool ReadMerge(element merge, std::pair<absl::string_view, absl::string_view>* pair) {
  std::string_view text, right;
  if (merge.get(text) == simdjson::SUCCESS) {
    const size_t space = text.find(' ');
    if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
      return false;
    }
    *pair = {View(text.substr(0, space)), View(text.substr(space + 1))};
    return true;
  }
  array sides;
  if (merge.get(sides) || sides.size() != 2) return false;
  if (sides.at(0).get(text) || sides.at(1).get(right)) return false;
  *pair = {View(text), View(right)};
  return true;
}

absl::Status ReadMerges(const Settings& model, ModelTables::Source* source) {
  ASSIGN_OR_RETURN(const Settings merges, model.Get("merges"));
  array elements;
  if (merges.value().get(elements)) return merges.Error("want a list of merges");
  size_t index = 0;
  for (const element merge : elements) {
    std::string_view text;
    const bool is_comment = merge.get(text) == simdjson::SUCCESS && text.rfind("#version", 0) == 0;
    if (!is_comment && !ReadMerge(merge, &source->merges.emplace_back())) {
      return merges.Error(absl::StrCat("merge ", index,
                                       ": want \"left right\" or [\"left\", \"right\"], got ",
                                       std::string(simdjson::minify(merge)).substr(0, 60)));
    }
    ++index;
  }
  return absl::OkStatus();
}

// The object's JSON without some members.
std::string Without(object members, const std::vector<std::string_view>& left_out,
                    absl::string_view extra) {
  std::string json(extra);
  for (const auto member : members) {
    if (std::find(left_out.begin(), left_out.end(), member.key) != left_out.end()) continue;
    if (!json.empty()) json += ',';
    absl::StrAppend(&json, QuoteJson(View(member.key)), ":",
                    std::string(simdjson::minify(member.value)));
  }
  return absl::StrCat("{", json, "}");
}

absl::Status CheckModelType(const Settings& model) {
  ASSIGN_OR_RETURN(const std::optional<Settings> type, model.Find("type"));
  if (!type) return absl::OkStatus();  // files of 2020
  ASSIGN_OR_RETURN(const std::string name, type->String());
  if (name == "BPE") return absl::OkStatus();
  return type->Error(absl::StrCat("the model \"", name, "\" is not supported"),
                     "only models of the type BPE are");
}

}  // namespace

absl::StatusOr<std::unique_ptr<const ModelTables>> ReadTokenizerFile(
    absl::string_view json, absl::string_view file, absl::string_view fingerprint) {
  if (json.empty()) return UserError(file, "the file is empty");
  simdjson::dom::parser parser;
  ASSIGN_OR_RETURN(
      const element document,
      ParseJson(parser, json, file, "the file is damaged or incomplete: fetch it again"));
  const Settings root(file, document);
  ASSIGN_OR_RETURN(const Settings model, root.Get("model"));
  RETURN_IF_ERROR(CheckModelType(model));
  ModelTables::Source source;
  RETURN_IF_ERROR(ReadVocab(model, &source));
  RETURN_IF_ERROR(ReadMerges(model, &source));
  ASSIGN_OR_RETURN(const BpeOptions options, ReadBpeOptions(model));
  source.prefix_size = options.continuing_subword_prefix.size();
  source.unk_token = options.unk_token;
  const std::string model_rest =
      Without(model.value().get_object().value_unsafe(), {"vocab", "merges"}, "");
  const std::string settings = Without(document.get_object().value_unsafe(), {"model"},
                                       absl::StrCat("\"model\":", model_rest));
  source.settings = settings;
  source.fingerprint = fingerprint;
  return ModelTables::Build(source, file);
}

}  // namespace lockstep::data
