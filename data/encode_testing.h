// For tests of the encoder: documents go in as JSON, and come out as text in which what is learned
// is marked.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "data/encode.h"
#include "data/examples.h"
#include "data/tokenizer/shared_tokenizers.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/tokenizer_config.h"

namespace lockstep::data {

class EncodeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!HaveSharedTokenizers()) GTEST_SKIP() << "the shared tokenizers are not here";
    tokenizer_ = *Tokenizer::Load(UnpackSharedTokenizer("qwen3"), {});
    config_.eos_token = "<|im_end|>";
  }

  static std::string SharedTemplate(const std::string& name) {
    return *ReadFile("external/shared/assets/chat/" + name + ".jinja");
  }

  absl::StatusOr<std::vector<EncodedDocument>> Encode(const std::string& json,
                                                      EncodeOptions options) {
    const SourcePosition source{"d.jsonl", 3};
    const auto format = RecognizeFormat(json, source, {});
    if (!format.ok()) return format.status();
    const auto example = ParseExample(json, *format, source, {});
    if (!example.ok()) return example.status();
    const auto encoder = DocumentEncoder::Create(tokenizer_.get(), config_, std::move(options));
    if (!encoder.ok()) return encoder.status();
    return (*encoder)->Encode(*example);
  }

  // The text with the supervised runs in [[ ]].
  std::string Marked(const EncodedDocument& document) {
    EXPECT_EQ(document.input_ids.size(), document.supervised.size());
    std::string out;
    std::vector<int32_t> run;
    for (size_t i = 0; i <= document.input_ids.size(); ++i) {
      const bool end = i == document.input_ids.size();
      if (!run.empty() && (end || document.supervised[i] != document.supervised[i - 1])) {
        const std::string text = tokenizer_->Decode(run, false);
        out += document.supervised[i - 1] ? "[[" + text + "]]" : text;
        run.clear();
      }
      if (!end) run.push_back(document.input_ids[i]);
    }
    return out;
  }

  std::string MarkedOf(const std::string& json, EncodeOptions options) {
    const auto documents = Encode(json, std::move(options));
    if (!documents.ok()) return std::string(documents.status().message());
    std::string out;
    for (const EncodedDocument& document : *documents) {
      out += (out.empty() ? "" : "\n---\n") + Marked(document);
    }
    return out;
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  TokenizerConfig config_;
};

inline constexpr char kChat[] =
    R"({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo!\n"},
        {"role": "user", "content": "Bye"}, {"role": "assistant", "content": "Ciao"}]})";

inline EncodeOptions ChatMl() {
  EncodeOptions options;
  options.chat_template = "chatml";
  return options;
}

}  // namespace lockstep::data
