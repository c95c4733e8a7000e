#include "data/tokenizer/pre_tokenizers.h"

#include <unicode/uscript.h>

#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "data/tokenizer/byte_level.h"
#include "data/tokenizer/pattern.h"
#include "data/tokenizer/unicode.h"

namespace lockstep::data {
namespace {

// GPT-2's: contractions, words, numbers and the rest, each with the space in front of it.
constexpr char kGpt2Pattern[] =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

class Split : public PreTokenizer {
 public:
  Split(std::unique_ptr<const Regex> pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  absl::Status Apply(Pieces* pieces) const override {
    std::vector<Match> matches;
    return pieces->Cut([&](const Piece& piece, std::vector<Piece>* cut) -> absl::Status {
      RETURN_IF_ERROR(pattern_->FindAll(pieces->View(piece).text, &matches));
      if (invert_) {
        for (Match& m : matches) m.is_delimiter = !m.is_delimiter;
      }
      CutByMatches(piece, matches, behavior_, cut);
      return absl::OkStatus();
    });
  }

 private:
  const std::unique_ptr<const Regex> pattern_;
  const SplitBehavior behavior_;
  const bool invert_;
};

// Every character for which `is_delimiter` holds is a delimiter by itself.
class SplitCharacters : public PreTokenizer {
 public:
  using Predicate = bool (*)(char32_t);
  SplitCharacters(Predicate is_delimiter, SplitBehavior behavior)
      : is_delimiter_(is_delimiter), behavior_(behavior) {}

  absl::Status Apply(Pieces* pieces) const override {
    std::vector<Match> matches;
    return pieces->Cut([&](const Piece& piece, std::vector<Piece>* cut) {
      const absl::string_view text = pieces->View(piece).text;
      matches.clear();
      uint32_t last = 0;
      for (uint32_t i = 0; i < text.size();) {
        int length;
        if (is_delimiter_(DecodeUtf8(text.data() + i, &length))) {
          if (last < i) matches.push_back({last, i, false});
          matches.push_back({i, i + length, true});
          last = i + length;
        }
        i += length;
      }
      if (last < text.size()) matches.push_back({last, static_cast<uint32_t>(text.size()), false});
      CutByMatches(piece, matches, behavior_, cut);
      return absl::OkStatus();
    });
  }

 private:
  const Predicate is_delimiter_;
  const SplitBehavior behavior_;
};

class Whitespace : public PreTokenizer {
 public:
  absl::Status Apply(Pieces* pieces) const override {
    return pieces->Cut([&](const Piece& piece, std::vector<Piece>* cut) {
      const absl::string_view text = pieces->View(piece).text;
      Class previous = kSpace;
      for (uint32_t i = 0; i < text.size();) {
        int length;
        const Class current = ClassOf(DecodeUtf8(text.data() + i, &length));
        if (current != kSpace) {
          const uint32_t begin = piece.begin + i;
          if (current != previous) cut->push_back({begin, begin, Piece::kText});
          cut->back().end = begin + length;
        }
        previous = current;
        i += length;
      }
      return absl::OkStatus();
    });
  }

 private:
  enum Class { kSpace, kWord, kOther };
  static Class ClassOf(char32_t c) {
    return IsWhiteSpace(c) ? kSpace : IsWordCharacter(c) ? kWord : kOther;
  }
};

class FixedLength : public PreTokenizer {
 public:
  explicit FixedLength(int64_t characters) : characters_(characters) {}

  absl::Status Apply(Pieces* pieces) const override {
    return pieces->Cut([&](const Piece& piece, std::vector<Piece>* cut) {
      const absl::string_view text = pieces->View(piece).text;
      int64_t count = 0;
      for (uint32_t i = 0; i < text.size(); ++count) {
        int length;
        DecodeUtf8(text.data() + i, &length);
        const uint32_t begin = piece.begin + i;
        if (count % characters_ == 0) cut->push_back({begin, begin, Piece::kText});
        cut->back().end = begin + length;
        i += length;
      }
      return absl::OkStatus();
    });
  }

 private:
  const int64_t characters_;
};

// Cuts where the script changes; Japanese is one script. Spaces and characters without a script go
// with what stands before them, and are lost where nothing does.
class UnicodeScripts : public PreTokenizer {
 public:
  absl::Status Apply(Pieces* pieces) const override {
    return pieces->Cut([&](const Piece& piece, std::vector<Piece>* cut) {
      const absl::string_view text = pieces->View(piece).text;
      int last = kAny;
      for (uint32_t i = 0; i < text.size();) {
        int length;
        const int script = ScriptOf(DecodeUtf8(text.data() + i, &length));
        const uint32_t begin = piece.begin + i;
        if (script != kAny && script != last) {
          cut->push_back({begin, begin, Piece::kText});
          last = script;
        }
        if (last != kAny) cut->back().end = begin + length;
        i += length;
      }
      return absl::OkStatus();
    });
  }

 private:
  static constexpr int kAny = -1;
  static int ScriptOf(char32_t c) {
    if (c == ' ') return kAny;
    const int script = Script(c);
    const bool kana = script == USCRIPT_HIRAGANA || script == USCRIPT_KATAKANA || c == 0x30FC;
    return kana ? static_cast<int>(USCRIPT_HAN) : script;
  }
};

class PrefixSpace : public PreTokenizer {
 public:
  absl::Status Apply(Pieces* pieces) const override {
    return pieces->Rewrite([&](const Piece& piece, AlignedText* out) {
      const AlignedView view = pieces->View(piece);
      if (view.text[0] != ' ') out->Put(" ", view.Span(0, 1));
      out->Keep(view);
      return absl::OkStatus();
    });
  }
  bool rewrites() const override { return true; }
};

class ByteLevel : public PreTokenizer {
 public:
  absl::Status Apply(Pieces* pieces) const override {
    return pieces->Rewrite([&](const Piece& piece, AlignedText* out) {
      AppendByteLevel(pieces->View(piece), out);
      return absl::OkStatus();
    });
  }
  bool rewrites() const override { return true; }
};

// Metaspace but for the cutting.
class Metaspace : public PreTokenizer {
 public:
  enum Prepend { kNever, kFirst, kAlways };
  Metaspace(char32_t replacement, Prepend prepend)
      : replacement_(Utf8(replacement)), prepend_(prepend) {}

  absl::Status Apply(Pieces* pieces) const override {
    return pieces->Rewrite([&](const Piece& piece, AlignedText* out) {
      const AlignedView view = pieces->View(piece);
      const bool begins_with_it = view.text[0] == ' ' || absl::StartsWith(view.text, replacement_);
      const bool wanted =
          prepend_ == kAlways || (prepend_ == kFirst && pieces->InputBegin(piece) == 0);
      if (wanted && !begins_with_it) out->Put(replacement_, view.Span(0, 1));
      for (size_t begin = 0; begin < view.text.size();) {
        const size_t space = std::min(view.text.find(' ', begin), view.text.size());
        if (begin < space) out->Keep(view.Part(begin, space));
        if (space < view.text.size()) out->Put(replacement_, view.Span(space, space + 1));
        begin = space + 1;
      }
      return absl::OkStatus();
    });
  }
  bool rewrites() const override { return true; }
  bool needs_input_begin() const override { return prepend_ == kFirst; }

 private:
  const std::string replacement_;
  const Prepend prepend_;
};

absl::StatusOr<SplitBehavior> Behavior(const Settings& settings) {
  ASSIGN_OR_RETURN(const std::optional<Settings> setting, settings.Find("behavior"));
  if (!setting) return SplitBehavior::kIsolated;
  ASSIGN_OR_RETURN(const std::string name, setting->String());
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return setting->Error(absl::StrCat("\"", name, "\" is not supported"),
                        "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

absl::Status AddMetaspace(const Settings& settings, PreTokenizers* out) {
  ASSIGN_OR_RETURN(const char32_t replacement, settings.Character("replacement"));
  ASSIGN_OR_RETURN(const bool split, settings.Bool("split", true));
  ASSIGN_OR_RETURN(const bool prefix_space, settings.Bool("add_prefix_space", true));
  ASSIGN_OR_RETURN(const std::optional<Settings> scheme, settings.Find("prepend_scheme"));
  std::string name = prefix_space ? "always" : "never";
  if (scheme) {
    ASSIGN_OR_RETURN(name, scheme->String());
  }
  if (name != "always" && name != "first" && name != "never") {
    return scheme->Error(absl::StrCat("\"", name, "\" is not supported"), "always, first or never");
  }
  if (!prefix_space && name != "never") {
    return scheme->Error("contradicts \"add_prefix_space\": false");
  }
  const auto prepend = name == "always"  ? Metaspace::kAlways
                       : name == "first" ? Metaspace::kFirst
                                         : Metaspace::kNever;
  out->steps.push_back(std::make_unique<Metaspace>(replacement, prepend));
  if (split) {
    out->steps.push_back(std::make_unique<Split>(Regex::Literal(Utf8(replacement)),
                                                 SplitBehavior::kMergedWithNext, false));
  }
  return absl::OkStatus();
}

absl::Status AddByteLevel(const Settings& settings, PreTokenizers* out) {
  ASSIGN_OR_RETURN(const bool prefix_space, settings.Bool("add_prefix_space", true));
  ASSIGN_OR_RETURN(const bool use_regex, settings.Bool("use_regex", true));
  if (prefix_space) out->steps.push_back(std::make_unique<PrefixSpace>());
  if (use_regex) {
    ASSIGN_OR_RETURN(std::unique_ptr<const Regex> regex, Regex::Compile(kGpt2Pattern));
    out->steps.push_back(
        std::make_unique<Split>(std::move(regex), SplitBehavior::kIsolated, false));
  }
  out->steps.push_back(std::make_unique<ByteLevel>());
  return absl::OkStatus();
}

absl::Status AddSplit(const Settings& settings, PreTokenizers* out) {
  ASSIGN_OR_RETURN(const Settings pattern, settings.Get("pattern"));
  ASSIGN_OR_RETURN(std::unique_ptr<const Regex> regex, MakePattern(pattern));
  ASSIGN_OR_RETURN(const SplitBehavior behavior, Behavior(settings));
  ASSIGN_OR_RETURN(const bool invert, settings.Bool("invert", false));
  out->steps.push_back(std::make_unique<Split>(std::move(regex), behavior, invert));
  return absl::OkStatus();
}

void AddSplitCharacters(SplitCharacters::Predicate predicate, SplitBehavior behavior,
                        PreTokenizers* out) {
  out->steps.push_back(std::make_unique<SplitCharacters>(predicate, behavior));
}

absl::Status Add(const Settings& settings, PreTokenizers* out) {
  ASSIGN_OR_RETURN(const Settings type_setting, settings.Get("type"));
  ASSIGN_OR_RETURN(const std::string type, type_setting.String());
  if (type == "Split") return AddSplit(settings, out);
  if (type == "ByteLevel") return AddByteLevel(settings, out);
  if (type == "Metaspace") return AddMetaspace(settings, out);
  if (type == "Digits") {
    ASSIGN_OR_RETURN(const bool individual, settings.Bool("individual_digits", false));
    AddSplitCharacters(IsNumeric,
                       individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous, out);
  } else if (type == "Punctuation") {
    ASSIGN_OR_RETURN(const SplitBehavior behavior, Behavior(settings));
    AddSplitCharacters(IsPunctuation, behavior, out);
  } else if (type == "WhitespaceSplit") {
    AddSplitCharacters(IsWhiteSpace, SplitBehavior::kRemoved, out);
  } else if (type == "BertPreTokenizer") {
    AddSplitCharacters(IsWhiteSpace, SplitBehavior::kRemoved, out);
    AddSplitCharacters(IsPunctuation, SplitBehavior::kIsolated, out);
  } else if (type == "Whitespace") {
    out->steps.push_back(std::make_unique<Whitespace>());
  } else if (type == "UnicodeScripts") {
    out->steps.push_back(std::make_unique<UnicodeScripts>());
  } else if (type == "CharDelimiterSplit" || type == "Delimiter") {
    ASSIGN_OR_RETURN(const char32_t delimiter, settings.Character("delimiter"));
    out->steps.push_back(
        std::make_unique<Split>(Regex::Literal(Utf8(delimiter)), SplitBehavior::kRemoved, false));
  } else if (type == "FixedLength") {
    ASSIGN_OR_RETURN(const std::optional<Settings> length, settings.Find("length"));
    int64_t characters = 5;
    if (length) {
      ASSIGN_OR_RETURN(characters, length->Int());
    }
    if (characters == 0) return length->Error("want a number from 1, got 0");
    out->steps.push_back(std::make_unique<FixedLength>(characters));
  } else if (type == "Sequence") {
    ASSIGN_OR_RETURN(const Settings list, settings.Get("pretokenizers"));
    ASSIGN_OR_RETURN(const std::vector<Settings> elements, list.Elements());
    for (const Settings& element : elements) RETURN_IF_ERROR(Add(element, out));
  } else {
    return type_setting.Error(absl::StrCat("the pre-tokenizer \"", type, "\" is not supported"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status PreTokenizers::Apply(Pieces* pieces) const {
  for (const std::unique_ptr<const PreTokenizer>& step : steps) {
    RETURN_IF_ERROR(step->Apply(pieces));
  }
  return absl::OkStatus();
}

absl::StatusOr<PreTokenizers> MakePreTokenizers(const Settings& settings) {
  PreTokenizers out;
  RETURN_IF_ERROR(Add(settings, &out));
  if (!out.steps.empty() && dynamic_cast<const ByteLevel*>(out.steps.back().get())) {
    out.steps.pop_back();
    out.byte_level = true;
  }
  return out;
}

}  // namespace lockstep::data
