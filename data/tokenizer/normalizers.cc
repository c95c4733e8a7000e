#include "data/tokenizer/normalizers.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "data/tokenizer/byte_level.h"
#include "data/tokenizer/pattern.h"
#include "data/tokenizer/unicode.h"
#include "data/tokenizer/unicode_normal_form.h"

namespace lockstep::data {
namespace {

// Calls use(c, view of its bytes) for each character.
template <typename Use>
void ForEachCharacter(const AlignedView& in, Use use) {
  for (size_t i = 0; i < in.text.size();) {
    int length;
    const char32_t c = DecodeUtf8(in.text.data() + i, &length);
    use(c, in.Part(i, i + length));
    i += length;
  }
}

TokenSpan SpanOf(const AlignedView& view) { return view.Span(0, view.text.size()); }

class NormalForm : public Normalizer {
 public:
  explicit NormalForm(UnicodeForm form) : form_(form) {}
  absl::Status Normalize(const AlignedView& in, AlignedText* out) const override {
    NormalizeUnicode(form_, in, out);
    return absl::OkStatus();
  }
  bool Keeps(absl::string_view text) const override { return IsNormalized(form_, text); }

 private:
  const UnicodeForm form_;
};

class Lowercase : public Normalizer {
 public:
  absl::Status Normalize(const AlignedView& in, AlignedText* out) const override {
    ForEachCharacter(in, [out](char32_t c, const AlignedView& view) {
      const char32_t lower = LowercaseCharacter(c);
      if (c == 0x130) {  // the one character with a longer lower case: i and a dot above
        out->Put("i\u0307", SpanOf(view));
      } else if (lower != c) {
        out->Put(lower, SpanOf(view));
      } else {
        out->Keep(view);
      }
    });
    return absl::OkStatus();
  }
};

class Strip : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  absl::Status Normalize(const AlignedView& in, AlignedText* out) const override {
    size_t begin = 0, end = in.text.size();
    int length;
    while (left_ && begin < end && IsWhiteSpace(DecodeUtf8(in.text.data() + begin, &length))) {
      begin += length;
    }
    while (right_ && begin < end && IsWhiteSpace(DecodeUtf8Before(in.text.data() + end, &length))) {
      end -= length;
    }
    out->Keep(in.Part(begin, end));
    return absl::OkStatus();
  }

 private:
  const bool left_, right_;
};

class StripAccents : public Normalizer {
 public:
  absl::Status Normalize(const AlignedView& in, AlignedText* out) const override {
    ForEachCharacter(in, [out](char32_t c, const AlignedView& view) {
      if (!IsCombiningMark(c)) out->Keep(view);
    });
    return absl::OkStatus();
  }
};

class Replace : public Normalizer {
 public:
  Replace(std::unique_ptr<const Regex> pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  absl::Status Normalize(const AlignedView& in, AlignedText* out) const override {
    std::vector<Match> matches;
    RETURN_IF_ERROR(pattern_->FindAll(in.text, &matches));
    for (const Match& m : matches) {
      const AlignedView part = in.Part(m.begin, m.end);
      if (!m.is_delimiter) {
        out->Keep(part);
      } else if (!part.text.empty()) {
        out->Put(content_, SpanOf(part));
      } else {  // between two characters: stands for the one before
        const size_t before = m.begin == 0 ? 0 : m.begin - 1;
        out->Put(content_, in.Span(before, before + 1));
      }
    }
    return absl::OkStatus();
  }

 private:
  const std::unique_ptr<const Regex> pattern_;
  const std::string content_;
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string text) : text_(std::move(text)) {}
  absl::Status Normalize(const AlignedView& in, AlignedText* out) const override {
    if (in.text.empty()) return absl::OkStatus();
    out->Put(text_, in.Span(0, 1));
    out->Keep(in);
    return absl::OkStatus();
  }

 private:
  const std::string text_;
};

class ByteLevel : public Normalizer {
 public:
  absl::Status Normalize(const AlignedView& in, AlignedText* out) const override {
    AppendByteLevel(in, out);
    return absl::OkStatus();
  }
};

class Nmt : public Normalizer {
 public:
  absl::Status Normalize(const AlignedView& in, AlignedText* out) const override {
    ForEachCharacter(in, [out](char32_t c, const AlignedView& view) {
      if (IsControl(c)) return;
      if (IsBlank(c)) {
        out->Put(" ", SpanOf(view));
      } else {
        out->Keep(view);
      }
    });
    return absl::OkStatus();
  }

 private:
  static bool IsControl(char32_t c) {
    return (c >= 0x1 && c <= 0x8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F ||
           c == 0x8F || c == 0x9F;
  }
  static bool IsBlank(char32_t c) {
    return c == 0x9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
           (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
           c == 0xFEFF || c == 0xFFFD;
  }
};

class Bert : public Normalizer {
 public:
  Bert(bool clean_text, bool handle_chinese, bool strip_accents, bool lowercase)
      : clean_text_(clean_text),
        handle_chinese_(handle_chinese),
        strip_accents_(strip_accents),
        lowercase_(lowercase) {}

  absl::Status Normalize(const AlignedView& in, AlignedText* out) const override {
    AlignedText cleaned, plain;
    cleaned.Clear(out->tracked());
    plain.Clear(out->tracked());
    ForEachCharacter(in, [&](char32_t c, const AlignedView& view) { Clean(c, view, &cleaned); });
    const AlignedView text = cleaned.view();
    if (strip_accents_) {
      AlignedText decomposed;
      decomposed.Clear(out->tracked());
      NormalizeUnicode(UnicodeForm::kNfd, text, &decomposed);
      ForEachCharacter(decomposed.view(), [&](char32_t c, const AlignedView& view) {
        if (!IsNonspacingMark(c)) plain.Keep(view);
      });
    }
    const AlignedView stripped = strip_accents_ ? plain.view() : text;
    if (lowercase_) return Lowercase().Normalize(stripped, out);
    out->Keep(stripped);
    return absl::OkStatus();
  }

 private:
  void Clean(char32_t c, const AlignedView& view, AlignedText* out) const {
    if (clean_text_) {
      const bool is_blank = c == '\t' || c == '\n' || c == '\r' || IsWhiteSpace(c);
      const bool is_control = c != '\t' && c != '\n' && c != '\r' && IsControlOrFormat(c);
      if (c == 0 || c == 0xFFFD || is_control) return;
      if (is_blank) return out->Put(" ", SpanOf(view));
    }
    const bool spaced = handle_chinese_ && IsChinese(c);
    if (spaced) out->Put(" ", SpanOf(view));
    out->Keep(view);
    if (spaced) out->Put(" ", SpanOf(view));
  }

  static bool IsChinese(char32_t c) {
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
           (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
           (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
           (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
  }

  const bool clean_text_, handle_chinese_, strip_accents_, lowercase_;
};

class Sequence : public Normalizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<const Normalizer>> steps)
      : steps_(std::move(steps)) {}
  absl::Status Normalize(const AlignedView& in, AlignedText* out) const override {
    AlignedView view = in;
    AlignedText texts[2];
    for (size_t i = 0; i < steps_.size(); ++i) {
      AlignedText& next = texts[i % 2];
      next.Clear(out->tracked());
      RETURN_IF_ERROR(steps_[i]->Normalize(view, &next));
      view = next.view();
    }
    out->Keep(view);
    return absl::OkStatus();
  }
  bool Keeps(absl::string_view text) const override {
    return std::all_of(steps_.begin(), steps_.end(),
                       [&](const auto& step) { return step->Keeps(text); });
  }

 private:
  const std::vector<std::unique_ptr<const Normalizer>> steps_;
};

absl::StatusOr<std::unique_ptr<const Normalizer>> MakeReplace(const Settings& settings) {
  ASSIGN_OR_RETURN(const Settings pattern, settings.Get("pattern"));
  ASSIGN_OR_RETURN(std::unique_ptr<const Regex> regex, MakePattern(pattern));
  ASSIGN_OR_RETURN(std::string content, settings.String("content"));
  return std::make_unique<Replace>(std::move(regex), std::move(content));
}

absl::StatusOr<std::unique_ptr<const Normalizer>> MakeBert(const Settings& settings) {
  ASSIGN_OR_RETURN(const bool clean_text, settings.Bool("clean_text", true));
  ASSIGN_OR_RETURN(const bool chinese, settings.Bool("handle_chinese_chars", true));
  ASSIGN_OR_RETURN(const bool lowercase, settings.Bool("lowercase", true));
  ASSIGN_OR_RETURN(const bool strip_accents, settings.Bool("strip_accents", lowercase));
  return std::make_unique<Bert>(clean_text, chinese, strip_accents, lowercase);
}

absl::StatusOr<std::unique_ptr<const Normalizer>> MakeSequence(const Settings& settings) {
  ASSIGN_OR_RETURN(const Settings list, settings.Get("normalizers"));
  ASSIGN_OR_RETURN(const std::vector<Settings> elements, list.Elements());
  std::vector<std::unique_ptr<const Normalizer>> steps;
  for (const Settings& element : elements) {
    ASSIGN_OR_RETURN(steps.emplace_back(), MakeNormalizer(element));
  }
  return std::make_unique<Sequence>(std::move(steps));
}

}  // namespace

absl::StatusOr<std::unique_ptr<const Normalizer>> MakeNormalizer(const Settings& settings) {
  ASSIGN_OR_RETURN(const Settings type_setting, settings.Get("type"));
  ASSIGN_OR_RETURN(const std::string type, type_setting.String());
  if (type == "NFC") return std::make_unique<NormalForm>(UnicodeForm::kNfc);
  if (type == "NFD") return std::make_unique<NormalForm>(UnicodeForm::kNfd);
  if (type == "NFKC") return std::make_unique<NormalForm>(UnicodeForm::kNfkc);
  if (type == "NFKD") return std::make_unique<NormalForm>(UnicodeForm::kNfkd);
  if (type == "Lowercase") return std::make_unique<Lowercase>();
  if (type == "StripAccents") return std::make_unique<StripAccents>();
  if (type == "ByteLevel") return std::make_unique<ByteLevel>();
  if (type == "Nmt") return std::make_unique<Nmt>();
  if (type == "Replace") return MakeReplace(settings);
  if (type == "BertNormalizer") return MakeBert(settings);
  if (type == "Sequence") return MakeSequence(settings);
  if (type == "Strip") {
    ASSIGN_OR_RETURN(const bool left, settings.Bool("strip_left", true));
    ASSIGN_OR_RETURN(const bool right, settings.Bool("strip_right", true));
    return std::make_unique<Strip>(left, right);
  }
  if (type == "Prepend") {
    ASSIGN_OR_RETURN(std::string text, settings.String("prepend"));
    return std::make_unique<Prepend>(std::move(text));
  }
  return type_setting.Error(absl::StrCat("the normalizer \"", type, "\" is not supported"));
}

absl::StatusOr<std::string> NormalizeString(const Normalizer& normalizer, absl::string_view text) {
  AlignedText out;
  out.Clear(false);
  RETURN_IF_ERROR(normalizer.Normalize({text}, &out));
  return std::string(out.view().text);
}

}  // namespace lockstep::data
