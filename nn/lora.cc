#define PCRE2_CODE_UNIT_WIDTH 8
#include "nn/lora.h"

#include <pcre2.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "nn/modules.h"

namespace lockstep::nn {
namespace {

// A compiled expression; Python's `re` and PCRE agree on what module names need.
class Regex {
 public:
  static absl::StatusOr<Regex> Compile(absl::string_view where, const std::string& pattern) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    Regex regex;
    regex.code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                    PCRE2_UTF, &error, &offset, nullptr),
                      pcre2_code_free);
    if (regex.code_ != nullptr) return regex;
    PCRE2_UCHAR message[256] = {};
    pcre2_get_error_message(error, message, sizeof(message));
    return UserError(where,
                     absl::StrCat("\"", pattern, "\" is not a regular expression: ",
                                  reinterpret_cast<const char*>(message), " at character ", offset),
                     "names separated by commas, or an expression for the whole module path");
  }

  // The groups' texts of a match that covers the whole of `text`; empty: none.
  std::vector<std::string> FullMatch(const std::string& text) const {
    std::vector<std::string> groups;
    const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> data(
        pcre2_match_data_create_from_pattern(code_.get(), nullptr), pcre2_match_data_free);
    const int count =
        pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0,
                    PCRE2_ANCHORED | PCRE2_ENDANCHORED, data.get(), nullptr);
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data.get());
    for (int i = 0; i < count; ++i) {
      const bool unset = ends[2 * i] == PCRE2_UNSET;
      groups.push_back(unset ? "" : text.substr(ends[2 * i], ends[2 * i + 1] - ends[2 * i]));
    }
    return groups;
  }
  bool Matches(const std::string& text) const { return !FullMatch(text).empty(); }

 private:
  std::shared_ptr<pcre2_code> code_;
};

// A selector with its expression compiled.
struct Selector {
  const ModuleSelector* spec;
  std::optional<Regex> regex;

  static absl::StatusOr<Selector> Make(absl::string_view where, const ModuleSelector& spec) {
    Selector selector{&spec, std::nullopt};
    if (spec.regex) {
      ASSIGN_OR_RETURN(selector.regex, Regex::Compile(where, *spec.regex));
    }
    return selector;
  }
  bool Matches(const std::string& path) const {
    if (spec->all_linear) return path != "lm_head" && !IsNamed(path, "embed_tokens");
    if (regex) return regex->Matches(path);
    return std::any_of(spec->names.begin(), spec->names.end(),
                       [&](const std::string& name) { return IsNamed(path, name); });
  }
  // By itself rather than by what its path ends with.
  bool ChoosesPath(const std::string& path) const {
    return regex || std::find(spec->names.begin(), spec->names.end(), path) != spec->names.end();
  }
};

// Which layers: by the first number behind a module list in the path.
class LayerFilter {
 public:
  static absl::StatusOr<LayerFilter> Make(const LoraConfig& config) {
    LayerFilter filter{config, {}};
    if (config.layers_to_transform.empty()) return filter;
    std::vector<std::string> patterns = config.layers_pattern;
    if (patterns.empty()) patterns = {"[^.]*"};
    for (const std::string& pattern : patterns) {
      ASSIGN_OR_RETURN(Regex regex,
                       Regex::Compile("layers_pattern",
                                      absl::StrCat("(?:|.*?\\.)(?:", pattern, ")\\.(\\d+)\\..*")));
      filter.expressions_.push_back(std::move(regex));
    }
    return filter;
  }
  bool Admits(const std::string& path) const {
    if (expressions_.empty()) return true;
    for (const Regex& regex : expressions_) {
      const std::vector<std::string> groups = regex.FullMatch(path);
      int64_t layer;
      if (groups.size() < 2 || !absl::SimpleAtoi(groups[1], &layer)) continue;
      const auto& layers = config_.layers_to_transform;
      return std::find(layers.begin(), layers.end(), layer) != layers.end();
    }
    return false;
  }

 private:
  LayerFilter(const LoraConfig& config, std::vector<Regex> expressions)
      : config_(config), expressions_(std::move(expressions)) {}
  const LoraConfig& config_;
  std::vector<Regex> expressions_;
};

template <typename Value>
struct CompiledPattern {
  Regex regex;
  Value value;
};

template <typename Value>
absl::StatusOr<std::vector<CompiledPattern<Value>>> CompilePatterns(
    absl::string_view where, const std::vector<std::pair<std::string, Value>>& patterns) {
  std::vector<CompiledPattern<Value>> out;
  for (const auto& [key, value] : patterns) {
    ASSIGN_OR_RETURN(Regex regex, Regex::Compile(where, absl::StrCat("(?:.*\\.)?(?:", key, ")")));
    out.push_back({std::move(regex), value});
  }
  return out;
}

template <typename Value>
Value Pick(const std::vector<CompiledPattern<Value>>& patterns, const std::string& path,
           Value otherwise) {
  for (const auto& pattern : patterns) {
    if (pattern.regex.Matches(path)) return pattern.value;
  }
  return otherwise;
}

std::string ShownSelector(const ModuleSelector& selector) {
  if (selector.all_linear) return "all-linear";
  if (selector.regex) return absl::StrCat("\"", *selector.regex, "\" (a regular expression)");
  return absl::StrCat("\"", absl::StrJoin(selector.names, "\", \""), "\"");
}

// PEFT's rule: a module that is saved whole gets no adapter, nor does what is inside it.
bool IsSavedWhole(const LoraConfig& config, const std::string& path) {
  return std::any_of(config.modules_to_save.begin(), config.modules_to_save.end(),
                     [&](const std::string& name) {
                       return IsNamed(path, name) || absl::StrContains(path, name + ".");
                     });
}

}  // namespace

absl::StatusOr<std::vector<std::optional<LoraTarget>>> ResolveTargets(
    const LoraConfig& config, const std::vector<std::string>& modules) {
  ASSIGN_OR_RETURN(const Selector targets, Selector::Make("target_modules", config.target_modules));
  ASSIGN_OR_RETURN(const Selector excluded,
                   Selector::Make("exclude_modules", config.exclude_modules));
  ASSIGN_OR_RETURN(const LayerFilter layers, LayerFilter::Make(config));
  ASSIGN_OR_RETURN(const auto ranks, CompilePatterns("rank_pattern", config.rank_pattern));
  ASSIGN_OR_RETURN(const auto alphas, CompilePatterns("alpha_pattern", config.alpha_pattern));
  std::vector<std::optional<LoraTarget>> out(modules.size());
  bool any = false;
  for (size_t i = 0; i < modules.size(); ++i) {
    const std::string& path = modules[i];
    if (!targets.Matches(path) || excluded.Matches(path) || IsSavedWhole(config, path) ||
        !(targets.ChoosesPath(path) || layers.Admits(path))) {
      continue;
    }
    LoraTarget target;
    target.r = Pick(ranks, path, config.r);
    const double alpha = Pick(alphas, path, config.alpha);
    if (target.r < 1) {
      return UserError("r", absl::StrCat(path, ": want a rank of at least 1, got ", target.r),
                       "raise --lora_r, or the rank_pattern of the adapter");
    }
    const double rank = static_cast<double>(target.r);
    target.scale = alpha / (config.use_rslora ? std::sqrt(rank) : rank);
    out[i] = target;
    any = true;
  }
  if (!any && config.modules_to_save.empty()) {
    return UserError(
        "target_modules",
        absl::StrCat(
            "no module of the model matches ", ShownSelector(config.target_modules),
            config.layers_to_transform.empty()
                ? ""
                : absl::StrCat(" in layers ", absl::StrJoin(config.layers_to_transform, ","),
                               " (layers_to_transform)")),
        absl::StrCat("the model's modules are ",
                     absl::StrJoin(modules.begin(),
                                   modules.begin() + std::min<size_t>(8, modules.size()), ", "),
                     " …"));
  }
  return out;
}

absl::StatusOr<std::vector<std::string>> IdleNames(const LoraConfig& config,
                                                   const std::vector<std::string>& modules) {
  ASSIGN_OR_RETURN(const auto targets, ResolveTargets(config, modules));
  std::vector<std::string> targeted;
  for (size_t i = 0; i < modules.size(); ++i) {
    if (targets[i]) targeted.push_back(modules[i]);
  }
  std::vector<std::string> idle;
  const auto check = [&](const char* where, const std::string& name, const auto& matches) {
    if (std::any_of(targeted.begin(), targeted.end(), matches)) return;
    idle.push_back(absl::StrCat(where, ": no adapter is at \"", name, "\""));
  };
  for (const std::string& name : config.target_modules.names) {
    check("target_modules", name, [&](const std::string& path) { return IsNamed(path, name); });
  }
  for (const int64_t layer : config.layers_to_transform) {
    LoraConfig alone = config;
    alone.layers_to_transform = {layer};
    ASSIGN_OR_RETURN(const LayerFilter filter, LayerFilter::Make(alone));
    check("layers_to_transform", absl::StrCat("layer ", layer),
          [&](const std::string& path) { return filter.Admits(path); });
  }
  const auto check_keys = [&](const char* where, const auto& pattern) -> absl::Status {
    ASSIGN_OR_RETURN(const auto compiled, CompilePatterns(where, pattern));
    for (size_t i = 0; i < compiled.size(); ++i) {
      check(where, pattern[i].first,
            [&](const std::string& path) { return compiled[i].regex.Matches(path); });
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(check_keys("rank_pattern", config.rank_pattern));
  RETURN_IF_ERROR(check_keys("alpha_pattern", config.alpha_pattern));
  return idle;
}

ModuleSelector ParseModuleSelector(absl::string_view text) {
  ModuleSelector selector;
  const bool is_list = std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(c) || c == '_' || c == '.' || c == ',' || c == ' ';
  });
  if (absl::AsciiStrToLower(text) == "all-linear") {
    selector.all_linear = true;
  } else if (!is_list) {
    selector.regex = std::string(text);
  } else {
    for (absl::string_view name : absl::StrSplit(text, ',', absl::SkipWhitespace())) {
      selector.names.push_back(std::string(absl::StripAsciiWhitespace(name)));
    }
  }
  return selector;
}

std::string ToString(LoraInit init) {
  switch (init) {
    case LoraInit::kTrue:
      return "true";
    case LoraInit::kGaussian:
      return "gaussian";
    case LoraInit::kPissa:
      return "pissa";
    case LoraInit::kFalse:
      return "false";
  }
  return "?";
}

}  // namespace lockstep::nn
