#include "data/tokenizer/post_processors.h"

#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace lockstep::data {
namespace {

// Processors work on a list of segments; it begins as the text alone, and a template makes one
// segment of each of its parts.
using Segment = std::vector<int32_t>;
using Segments = std::vector<Segment>;

absl::StatusOr<int32_t> TokenId(const Settings& setting) {
  ASSIGN_OR_RETURN(const int64_t id, setting.Int());
  if (id > std::numeric_limits<int32_t>::max()) return setting.Error("this id is too large");
  return static_cast<int32_t>(id);
}

// ["</s>", 2]
absl::StatusOr<int32_t> IdOfPair(const Settings& settings, absl::string_view key) {
  ASSIGN_OR_RETURN(const Settings pair, settings.Get(key));
  ASSIGN_OR_RETURN(const std::vector<Settings> elements, pair.Elements());
  if (elements.size() != 2) return pair.Error("want [token, id]");
  return TokenId(elements[1]);
}

absl::StatusOr<Segments> ApplyBert(const Settings& settings, bool roberta, bool add_special,
                                   Segments segments) {
  ASSIGN_OR_RETURN(const int32_t cls, IdOfPair(settings, "cls"));
  ASSIGN_OR_RETURN(const int32_t sep, IdOfPair(settings, "sep"));
  if (!add_special) return segments;
  for (size_t i = 0; i < segments.size(); ++i) {
    Segment& segment = segments[i];
    if (i == 0) {
      segment.insert(segment.begin(), cls);
    } else if (roberta) {
      segment.insert(segment.begin(), sep);
    }
    segment.push_back(sep);
  }
  return segments;
}

// The ids of a template's special token, which `special_tokens` explains.
absl::StatusOr<Segment> SpecialIds(const Settings& settings, const Settings& token) {
  ASSIGN_OR_RETURN(const std::string name, token.String("id"));
  ASSIGN_OR_RETURN(const Settings explained, settings.Get("special_tokens"));
  ASSIGN_OR_RETURN(const std::optional<Settings> special, explained.Find(name));
  if (!special) return token.Error(absl::StrCat("\"", name, "\" is not among special_tokens"));
  ASSIGN_OR_RETURN(const Settings ids, special->Get("ids"));
  ASSIGN_OR_RETURN(const std::vector<Settings> elements, ids.Elements());
  Segment segment;
  for (const Settings& element : elements) {
    ASSIGN_OR_RETURN(segment.emplace_back(), TokenId(element));
  }
  return segment;
}

absl::StatusOr<Segments> ApplyTemplate(const Settings& settings, bool add_special,
                                       const Segments& segments) {
  if (segments.empty() || segments.size() > 2) {
    return settings.Error("a template behind a template that adds several tokens is not supported");
  }
  ASSIGN_OR_RETURN(const Settings parts, settings.Get(segments.size() == 1 ? "single" : "pair"));
  ASSIGN_OR_RETURN(const std::vector<Settings> elements, parts.Elements());
  Segments out;
  for (const Settings& element : elements) {
    ASSIGN_OR_RETURN(const std::optional<Settings> token, element.Find("SpecialToken"));
    if (token) {
      ASSIGN_OR_RETURN(Segment ids, SpecialIds(settings, *token));
      if (add_special) out.push_back(std::move(ids));
      continue;
    }
    ASSIGN_OR_RETURN(const Settings sequence, element.Get("Sequence"));
    ASSIGN_OR_RETURN(const std::string id, sequence.String("id"));
    const size_t index = id == "A" ? 0 : 1;
    if ((id != "A" && id != "B") || index >= segments.size()) {
      return sequence.Error(absl::StrCat("there is no sequence \"", id, "\" here"));
    }
    out.push_back(segments[index]);
  }
  return out;
}

absl::StatusOr<Segments> Apply(const Settings& settings, bool add_special, Segments segments) {
  ASSIGN_OR_RETURN(const Settings type_setting, settings.Get("type"));
  ASSIGN_OR_RETURN(const std::string type, type_setting.String());
  if (type == "ByteLevel") return segments;
  if (type == "TemplateProcessing") return ApplyTemplate(settings, add_special, segments);
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    return ApplyBert(settings, type == "RobertaProcessing", add_special, std::move(segments));
  }
  if (type == "Sequence") {
    ASSIGN_OR_RETURN(const Settings list, settings.Get("processors"));
    ASSIGN_OR_RETURN(const std::vector<Settings> elements, list.Elements());
    for (const Settings& element : elements) {
      ASSIGN_OR_RETURN(segments, Apply(element, add_special, std::move(segments)));
    }
    return segments;
  }
  return type_setting.Error(absl::StrCat("the post-processor \"", type, "\" is not supported"));
}

absl::StatusOr<std::vector<int32_t>> Layout(const Settings& settings, bool add_special) {
  ASSIGN_OR_RETURN(const Segments segments,
                   Apply(settings, add_special, {{DocumentLayout::kText}}));
  std::vector<int32_t> layout;
  for (const Segment& segment : segments) {
    layout.insert(layout.end(), segment.begin(), segment.end());
  }
  return layout;
}

}  // namespace

absl::StatusOr<DocumentLayout> MakeDocumentLayout(const Settings& settings) {
  DocumentLayout layout;
  ASSIGN_OR_RETURN(layout.with_special, Layout(settings, true));
  ASSIGN_OR_RETURN(layout.without_special, Layout(settings, false));
  return layout;
}

}  // namespace lockstep::data
