#include "data/encode.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/hash.h"
#include "base/status.h"
#include "data/chat_notes.h"
#include "data/chat_spans.h"
#include "data/chat_template.h"
#include "data/jinja/repr.h"
#include "data/jinja/template.h"
#include "data/jinja/text.h"
#include "data/message_forms.h"
#include "data/special_tokens.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/tokenizer_config.h"

namespace lockstep::data {

namespace {

using jinja::Value;

size_t Occurrences(absl::string_view word, absl::string_view text) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(word, at)) != absl::string_view::npos; at += word.size()) {
    ++count;
  }
  return count;
}

class Encoder : public DocumentEncoder {
 public:
  Encoder(const Tokenizer* tokenizer, const TokenizerConfig& config, EncodeOptions options)
      : tokenizer_(tokenizer), options_(std::move(options)), special_(tokenizer) {
    for (const auto& [name, text] : config.strings) {
      variables_.emplace_back(Value::String(name), Value::String(text));
    }
    if (options_.template_variables.is_dict()) {
      const auto& more = options_.template_variables.dict().items;
      variables_.insert(variables_.end(), more.begin(), more.end());
    }
    render_options_.now = options_.template_date;
    const auto id_of = [&](const std::optional<std::string>& text) {
      return tokenizer_ != nullptr && text.has_value() ? tokenizer_->TokenToId(*text)
                                                       : std::nullopt;
    };
    bos_ = id_of(config.bos_token);
    eos_ = id_of(config.eos_token);
    if (tokenizer_ != nullptr && !eos_.has_value()) eos_ = options_.eos_token_id;
  }

  // `tool_source`: of chats that bring tools; empty: the same.
  absl::Status SetTemplates(const std::string& source, const std::string& tool_source) {
    template_source_ = source + tool_source;
    ASSIGN_OR_RETURN(template_, ParseChatTemplate(source, "chat_template"));
    tool_template_ = template_;
    takes_parts_ = TakesParts();
    if (tool_source.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(tool_template_, ParseChatTemplate(tool_source, "chat_template tool_use"));
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<EncodedDocument>> Encode(const Example& example) const override {
    const std::string where = absl::StrCat(example.source.file, ":", example.source.line);
    if (const auto* tokens = std::get_if<TokensExample>(&example.content)) {
      return EncodeTokens(*tokens, where);
    }
    if (tokenizer_ == nullptr) {
      return UserError(where, "this document is text, and the model has no tokenizer.json",
                       "fetch the model's tokenizer.json, or save it with a fast tokenizer of "
                       "transformers");
    }
    absl::StatusOr<std::vector<EncodedDocument>> out = EncodeText(example, where);
    if (!out.ok() && !absl::StrContains(out.status().message(), where)) {
      return Annotate(out.status(), where);
    }
    return out;
  }

  absl::StatusOr<std::string> Render(const ChatExample& chat,
                                     bool add_generation_prompt) const override {
    if (!template_.has_value()) return NoTemplate("chat");
    ASSIGN_OR_RETURN(jinja::Rendered rendered,
                     RenderMessages(chat, chat.messages.items(), add_generation_prompt));
    return std::move(rendered.text);
  }

  bool has_chat_template() const override { return template_.has_value(); }

  std::string Fingerprint() const override {
    // The date counts where it is seen, so that tokens of other templates last longer than a day.
    const bool sees_date = absl::StrContains(template_source_, "strftime_now");
    return HashHex(absl::StrCat(
        template_source_, "\n", options_.pair_template, "\n", static_cast<int>(options_.loss_on),
        static_cast<int>(options_.history), options_.append_eos, "\n", eos_.value_or(-1), "\n",
        sees_date ? options_.template_date : "", "\n", jinja::Repr(Value::Dict(variables_)), "\n",
        options_.vocab_size));
  }

 private:
  static absl::Status NoTemplate(absl::string_view where) {
    return UserError(where, "this document is a chat, and the model has no chat template",
                     "name one with --chat_template; chatml is built in");
  }

  absl::StatusOr<std::vector<EncodedDocument>> EncodeText(const Example& example,
                                                          const std::string& where) const {
    if (const auto* chat = std::get_if<ChatExample>(&example.content)) {
      return EncodeChat(*chat, where);
    }
    if (const auto* turn = std::get_if<TurnExample>(&example.content)) {
      if (template_.has_value()) return EncodeChat(turn->chat, where);
      return EncodePair(
          absl::StrReplaceAll(Before(options_.pair_template), {{"{prompt}", turn->pair.prompt}}),
          turn->pair.completion);
    }
    if (const auto* pair = std::get_if<PairExample>(&example.content)) {
      return EncodePair(pair->prompt, pair->completion);
    }
    return EncodePlain(std::get<TextExample>(example.content).text);
  }

  // The pair template up to the completion, with which it ends.
  static std::string Before(const std::string& pair_template) {
    return pair_template.substr(0, pair_template.find("{completion}"));
  }

  absl::StatusOr<jinja::Rendered> RenderMessages(const ChatExample& chat,
                                                 std::vector<Value> messages,
                                                 bool add_generation_prompt) const {
    std::vector<std::pair<Value, Value>> items = variables_;
    if (chat.template_variables.is_dict()) {
      const auto& own = chat.template_variables.dict().items;
      items.insert(items.end(), own.begin(), own.end());
    }
    items.emplace_back(Value::String("messages"), Value::List(std::move(messages)));
    items.emplace_back(Value::String("tools"), chat.tools);
    items.emplace_back(Value::String("add_generation_prompt"), Value::Bool(add_generation_prompt));
    const jinja::Template& chosen = chat.tools.is_none() ? *template_ : *tool_template_;
    return chosen.Render(WithDefaults(Value::Dict(std::move(items))), render_options_);
  }

  // Many templates know strings alone: of a list of parts they render nothing, or how Python would
  // print it.
  bool TakesParts() const {
    const auto text = [](const char* words) { return Value::String(words); };
    const auto render = [&](std::initializer_list<const char*> roles, const Value& content) {
      ChatExample chat;
      chat.tools = Value::None();
      std::vector<Value> messages;
      for (const char* role : roles) {
        messages.push_back(Value::Dict({{text("role"), text(role)}, {text("content"), content}}));
      }
      const absl::StatusOr<jinja::Rendered> rendered =
          RenderMessages(chat, std::move(messages), /*add_generation_prompt=*/false);
      return rendered.ok() ? rendered->text : "";
    };
    const Value words = text("words");
    const Value part = Value::Dict({{text("type"), text("text")}, {text("text"), words}});
    const auto takes = [&](std::initializer_list<const char*> roles) {
      return render(roles, Value::List({part})) == render(roles, words);
    };
    return takes({"user"}) && takes({"system", "user"}) && takes({"user", "assistant"});
  }

  // The messages in the first of the forms that the template renders, with the fewest words None
  // and null for content that is not there. If it renders none, its error shall not be about that.
  Value InKnownForm(const ChatExample& chat) const {
    const std::vector<Value> forms = MessageForms(chat.messages);
    if (forms.size() == 1) return forms[0];
    Value best = WithContent(forms[0]);
    size_t fewest = std::string::npos;
    for (const Value& form : forms) {
      const auto rendered = RenderMessages(chat, form.items(), /*add_generation_prompt=*/false);
      if (!rendered.ok()) continue;
      const size_t nulls =
          Occurrences("None", rendered->text) + Occurrences("null", rendered->text);
      if (nulls < fewest) best = form;
      fewest = std::min(fewest, nulls);
      if (fewest == 0) break;
    }
    return best;
  }

  absl::StatusOr<std::vector<EncodedDocument>> EncodeChat(ChatExample chat,
                                                          const std::string& where) const {
    if (!template_.has_value()) return NoTemplate(where);
    if (!takes_parts_) chat.messages = WithJoinedParts(chat.messages);
    chat.messages = InKnownForm(chat);
    const MessageRenderer renderer = {[&](std::vector<Value> messages, bool prompt) {
                                        return RenderMessages(chat, std::move(messages), prompt);
                                      },
                                      absl::StrContains(template_source_, "add_generation_prompt")};
    ASSIGN_OR_RETURN(const std::vector<SpannedText> texts,
                     FindChatSpans(chat, renderer, special_, options_.history, where));
    const uint32_t notes = ChatNotes(chat, texts, special_);
    std::vector<EncodedDocument> out;
    for (const SpannedText& text : texts) {
      ASSIGN_OR_RETURN(EncodedDocument document, EncodeSpans(text));
      document.notes |= notes;
      out.push_back(std::move(document));
    }
    return out;
  }

  // A template's text is whole: nothing is added to it, so BOS cannot be there twice.
  absl::StatusOr<EncodedDocument> EncodeSpans(const SpannedText& text) const {
    ASSIGN_OR_RETURN(const Encoding encoding,
                     tokenizer_->Encode(text.text, /*add_special_tokens=*/false));
    EncodedDocument out = Assign(encoding, text.spans);
    out.notes |= text.notes;
    for (size_t i = 0; i < out.input_ids.size(); ++i) {
      const bool last =
          out.supervised[i] != 0 && (i + 1 == out.input_ids.size() || out.supervised[i + 1] == 0);
      if (last && !tokenizer_->IsAdded(out.input_ids[i])) out.notes |= kNoEndOfTurn;
    }
    return Finish(std::move(out));
  }

  // A token is supervised if it begins inside a span.
  static EncodedDocument Assign(const Encoding& encoding,
                                const std::vector<std::pair<int64_t, int64_t>>& spans) {
    EncodedDocument out;
    out.input_ids = encoding.ids;
    out.supervised.assign(encoding.ids.size(), 0);
    size_t at = 0;
    for (size_t i = 0; i < encoding.ids.size(); ++i) {
      const auto [begin, end] = encoding.offsets[i];
      while (at < spans.size() && begin >= spans[at].second) ++at;
      if (at == spans.size()) break;
      const auto [first, last] = spans[at];
      if (begin >= first) {
        out.supervised[i] = 1;
        if (end > last) out.notes |= kBoundaryMerged;
      } else if (end > first) {
        out.notes |= kBoundaryMerged;
      }
    }
    return out;
  }

  EncodedDocument Finish(EncodedDocument out) const {
    if (options_.loss_on == LossOn::kAll)
      std::fill(out.supervised.begin(), out.supervised.end(), 1);
    if (!out.supervised.empty()) out.supervised[0] = 0;
    return out;
  }

  // Text with what the tokenizer's post-processor puts around it; no second BOS if the text has
  // one.
  absl::StatusOr<Encoding> EncodeWithSpecial(const std::string& text) const {
    ASSIGN_OR_RETURN(Encoding encoding, tokenizer_->Encode(text, /*add_special_tokens=*/true));
    const bool doubled = bos_.has_value() && encoding.ids.size() > 1 && encoding.ids[0] == *bos_ &&
                         encoding.ids[1] == *bos_ &&
                         encoding.offsets[0].begin == encoding.offsets[0].end;
    if (doubled) {
      encoding.ids.erase(encoding.ids.begin());
      encoding.offsets.erase(encoding.offsets.begin());
    }
    return encoding;
  }

  void AppendEos(EncodedDocument* out) const {
    if (!eos_.has_value()) out->notes |= kNoEndOfTurn;
    if (!eos_.has_value() || (!out->input_ids.empty() && out->input_ids.back() == *eos_)) return;
    out->input_ids.push_back(*eos_);
    out->supervised.push_back(1);
  }

  // Prompt and completion as they are; a token that reaches over the boundary is the prompt's.
  absl::StatusOr<std::vector<EncodedDocument>> EncodePair(const std::string& prompt,
                                                          const std::string& completion) const {
    const std::string text = prompt + completion;
    ASSIGN_OR_RETURN(const Encoding encoding, EncodeWithSpecial(text));
    const int64_t boundary = static_cast<int64_t>(prompt.size());
    EncodedDocument out = Assign(encoding, {{boundary, static_cast<int64_t>(text.size()) + 1}});
    AppendEos(&out);
    if (special_.Occurs(text)) out.notes |= kSpecialInContent;
    if (jinja::StripSpace(completion, jinja::kBoth).empty()) out.notes |= kEmptyAnswer;
    return std::vector<EncodedDocument>{Finish(std::move(out))};
  }

  absl::StatusOr<std::vector<EncodedDocument>> EncodePlain(const std::string& text) const {
    ASSIGN_OR_RETURN(const Encoding encoding, EncodeWithSpecial(text));
    EncodedDocument out;
    out.input_ids = encoding.ids;
    out.supervised.assign(encoding.ids.size(), 1);
    if (options_.append_eos) AppendEos(&out);
    if (special_.Occurs(text)) out.notes |= kSpecialInContent;
    return std::vector<EncodedDocument>{Finish(std::move(out))};
  }

  absl::StatusOr<std::vector<EncodedDocument>> EncodeTokens(const TokensExample& tokens,
                                                            const std::string& where) const {
    for (size_t i = 0; i < tokens.input_ids.size(); ++i) {
      if (options_.vocab_size > 0 && tokens.input_ids[i] >= options_.vocab_size) {
        return UserError(where,
                         absl::StrCat("input_ids[", i, "]: want an id below ", options_.vocab_size,
                                      " (the model's vocabulary), got ", tokens.input_ids[i]));
      }
    }
    return std::vector<EncodedDocument>{{tokens.input_ids, tokens.supervised, 0}};
  }

  const Tokenizer* tokenizer_;
  const EncodeOptions options_;
  const SpecialTokens special_;
  std::vector<std::pair<Value, Value>> variables_;
  jinja::RenderOptions render_options_;
  std::string template_source_;
  std::optional<jinja::Template> template_, tool_template_;
  bool takes_parts_ = true;
  std::optional<int32_t> bos_, eos_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<const DocumentEncoder>> DocumentEncoder::Create(
    const Tokenizer* tokenizer, const TokenizerConfig& config, EncodeOptions options) {
  if (!absl::EndsWith(options.pair_template, "{completion}")) {
    return UserError("--pair_template",
                     absl::StrCat("want a text that ends with {completion}, got \"",
                                  options.pair_template, "\""),
                     "for example \"Q: {prompt} A: {completion}\"");
  }
  std::string source = options.chat_template;
  if (source == "chatml") {
    ASSIGN_OR_RETURN(source, ReadChatTemplate("chatml"));
  }
  std::string tool_source;
  const std::string* own = config.ChatTemplate();
  if (source.empty() && own != nullptr) {
    source = *own;
    const std::string* for_tools = config.ChatTemplate("tool_use");
    if (for_tools != nullptr) tool_source = *for_tools;
  }
  auto encoder = std::make_unique<Encoder>(tokenizer, config, std::move(options));
  if (!source.empty()) RETURN_IF_ERROR(encoder->SetTemplates(source, tool_source));
  return std::unique_ptr<const DocumentEncoder>(std::move(encoder));
}

}  // namespace lockstep::data
