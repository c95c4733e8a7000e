#include "data/tokenizer/decoders.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "data/tokenizer/byte_level.h"
#include "data/tokenizer/pattern.h"
#include "data/tokenizer/unicode.h"

namespace lockstep::data {
namespace {

using Tokens = std::vector<std::string>;

class ByteLevel : public Decoder {
 public:
  void Decode(Tokens* tokens) const override {
    std::string bytes;
    for (const std::string& token : *tokens) AppendBytes(token, &bytes);
    *tokens = {ReplaceInvalidUtf8(bytes)};
  }

 private:
  static void AppendBytes(const std::string& token, std::string* bytes) {
    const size_t before = bytes->size();
    for (size_t i = 0; i < token.size();) {
      int length;
      const int byte = ByteLevelByte(DecodeUtf8(token.data() + i, &length));
      if (byte < 0) {
        bytes->resize(before);
        bytes->append(token);
        return;
      }
      bytes->push_back(static_cast<char>(byte));
      i += length;
    }
  }
};

class ByteFallback : public Decoder {
 public:
  void Decode(Tokens* tokens) const override {
    Tokens out;
    std::string bytes;
    const auto flush = [&] {
      if (bytes.empty()) return;
      if (ValidUtf8Length(bytes) == bytes.size()) {
        out.push_back(bytes);
      } else {
        out.insert(out.end(), bytes.size(), "\uFFFD");
      }
      bytes.clear();
    };
    for (std::string& token : *tokens) {
      if (const int byte = ByteOfToken(token); byte >= 0) {
        bytes.push_back(static_cast<char>(byte));
      } else {
        flush();
        out.push_back(std::move(token));
      }
    }
    flush();
    *tokens = std::move(out);
  }
  bool has_byte_fallback() const override { return true; }
};

class Metaspace : public Decoder {
 public:
  Metaspace(char32_t replacement, bool drops_first)
      : replacement_(Utf8(replacement)), drops_first_(drops_first) {}
  void Decode(Tokens* tokens) const override {
    for (size_t i = 0; i < tokens->size(); ++i) {
      absl::StrReplaceAll({{replacement_, i == 0 && drops_first_ ? "" : " "}}, &(*tokens)[i]);
    }
  }

 private:
  const std::string replacement_;
  const bool drops_first_;
};

class Replace : public Decoder {
 public:
  Replace(std::unique_ptr<const Regex> pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void Decode(Tokens* tokens) const override {
    std::vector<Match> matches;
    for (std::string& token : *tokens) {
      // A token on which the expression fails is left as it is: decoding never fails.
      if (!pattern_->FindAll(token, &matches).ok()) continue;
      std::string text;
      for (const Match& m : matches) {
        text.append(m.is_delimiter ? content_ : token.substr(m.begin, m.end - m.begin));
      }
      token = std::move(text);
    }
  }

 private:
  const std::unique_ptr<const Regex> pattern_;
  const std::string content_;
};

class Strip : public Decoder {
 public:
  Strip(char32_t content, int64_t start, int64_t stop)
      : content_(Utf8(content)), start_(start), stop_(stop) {}
  void Decode(Tokens* tokens) const override {
    for (std::string& token : *tokens) {
      absl::string_view rest = token;
      for (int64_t i = 0; i < start_ && absl::ConsumePrefix(&rest, content_); ++i) {
      }
      for (int64_t i = 0; i < stop_ && absl::ConsumeSuffix(&rest, content_); ++i) {
      }
      token = std::string(rest);
    }
  }

 private:
  const std::string content_;
  const int64_t start_, stop_;
};

class Fuse : public Decoder {
 public:
  void Decode(Tokens* tokens) const override { *tokens = {absl::StrJoin(*tokens, "")}; }
};

class BpeDecoder : public Decoder {
 public:
  explicit BpeDecoder(std::string suffix) : suffix_(std::move(suffix)) {}
  void Decode(Tokens* tokens) const override {
    for (size_t i = 0; i < tokens->size(); ++i) {
      absl::StrReplaceAll({{suffix_, i + 1 == tokens->size() ? "" : " "}}, &(*tokens)[i]);
    }
  }

 private:
  const std::string suffix_;  // not empty
};

class WordPiece : public Decoder {
 public:
  WordPiece(std::string prefix, bool cleanup) : prefix_(std::move(prefix)), cleanup_(cleanup) {}
  void Decode(Tokens* tokens) const override {
    for (size_t i = 0; i < tokens->size(); ++i) {
      std::string& token = (*tokens)[i];
      if (i != 0) {
        absl::string_view rest = token;
        token = absl::ConsumePrefix(&rest, prefix_) ? std::string(rest) : absl::StrCat(" ", token);
      }
      if (cleanup_) Clean(&token);
    }
  }

 private:
  static void Clean(std::string* text) {
    constexpr std::pair<const char*, const char*> kSteps[] = {
        {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
        {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
        {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
    };
    for (const auto& step : kSteps) absl::StrReplaceAll({step}, text);
  }
  const std::string prefix_;
  const bool cleanup_;
};

class Sequence : public Decoder {
 public:
  explicit Sequence(std::vector<std::unique_ptr<const Decoder>> steps) : steps_(std::move(steps)) {}
  void Decode(Tokens* tokens) const override {
    for (const auto& step : steps_) step->Decode(tokens);
  }
  bool has_byte_fallback() const override {
    return std::any_of(steps_.begin(), steps_.end(),
                       [](const auto& step) { return step->has_byte_fallback(); });
  }

 private:
  const std::vector<std::unique_ptr<const Decoder>> steps_;
};

absl::StatusOr<std::unique_ptr<const Decoder>> MakeReplace(const Settings& settings) {
  ASSIGN_OR_RETURN(const Settings pattern, settings.Get("pattern"));
  ASSIGN_OR_RETURN(std::unique_ptr<const Regex> regex, MakePattern(pattern));
  ASSIGN_OR_RETURN(std::string content, settings.String("content"));
  return std::make_unique<Replace>(std::move(regex), std::move(content));
}

absl::StatusOr<std::unique_ptr<const Decoder>> MakeStrip(const Settings& settings) {
  ASSIGN_OR_RETURN(const char32_t content, settings.Character("content"));
  ASSIGN_OR_RETURN(const Settings start_setting, settings.Get("start"));
  ASSIGN_OR_RETURN(const Settings stop_setting, settings.Get("stop"));
  ASSIGN_OR_RETURN(const int64_t start, start_setting.Int());
  ASSIGN_OR_RETURN(const int64_t stop, stop_setting.Int());
  return std::make_unique<Strip>(content, start, stop);
}

absl::StatusOr<std::unique_ptr<const Decoder>> MakeMetaspace(const Settings& settings) {
  ASSIGN_OR_RETURN(const char32_t replacement, settings.Character("replacement"));
  ASSIGN_OR_RETURN(const bool prefix_space, settings.Bool("add_prefix_space", true));
  ASSIGN_OR_RETURN(const std::optional<Settings> scheme, settings.Find("prepend_scheme"));
  std::string name = prefix_space ? "always" : "never";
  if (scheme) {
    ASSIGN_OR_RETURN(name, scheme->String());
  }
  return std::make_unique<Metaspace>(replacement, name != "never");
}

absl::StatusOr<std::unique_ptr<const Decoder>> MakeSequence(const Settings& settings) {
  ASSIGN_OR_RETURN(const Settings list, settings.Get("decoders"));
  ASSIGN_OR_RETURN(const std::vector<Settings> elements, list.Elements());
  std::vector<std::unique_ptr<const Decoder>> steps;
  for (const Settings& element : elements) {
    ASSIGN_OR_RETURN(steps.emplace_back(), MakeDecoder(element));
  }
  return std::make_unique<Sequence>(std::move(steps));
}

}  // namespace

int ByteOfToken(absl::string_view token) {
  if (token.size() != 6 || !absl::StartsWith(token, "<0x") || token.back() != '>') return -1;
  absl::string_view digits = token.substr(3, 2);
  absl::ConsumePrefix(&digits, "+");  // as Rust's number parser has it
  int value = 0;
  for (const char c : digits) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) return -1;
    value = value * 16 + (absl::ascii_isdigit(c) ? c - '0' : absl::ascii_tolower(c) - 'a' + 10);
  }
  return value;
}

absl::StatusOr<std::unique_ptr<const Decoder>> MakeDecoder(const Settings& settings) {
  ASSIGN_OR_RETURN(const Settings type_setting, settings.Get("type"));
  ASSIGN_OR_RETURN(const std::string type, type_setting.String());
  if (type == "ByteLevel") return std::make_unique<ByteLevel>();
  if (type == "ByteFallback") return std::make_unique<ByteFallback>();
  if (type == "Fuse") return std::make_unique<Fuse>();
  if (type == "Metaspace") return MakeMetaspace(settings);
  if (type == "Replace") return MakeReplace(settings);
  if (type == "Strip") return MakeStrip(settings);
  if (type == "Sequence") return MakeSequence(settings);
  if (type == "BPEDecoder") {
    ASSIGN_OR_RETURN(std::string suffix, settings.String("suffix"));
    if (suffix.empty()) return settings.Error("want a \"suffix\" that is not empty");
    return std::make_unique<BpeDecoder>(std::move(suffix));
  }
  if (type == "WordPiece") {
    ASSIGN_OR_RETURN(std::string prefix, settings.String("prefix"));
    ASSIGN_OR_RETURN(const bool cleanup, settings.Bool("cleanup", true));
    return std::make_unique<WordPiece>(std::move(prefix), cleanup);
  }
  return type_setting.Error(absl::StrCat("the decoder \"", type, "\" is not supported"));
}

}  // namespace lockstep::data
