#include "nn/generate.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "autograd/tape.h"
#include "base/status.h"
#include "nn/host_tensor.h"
#include "nn/kv_cache.h"
#include "nn/packed_tokens.h"
#include "nn/rope.h"
#include "tensor/kernels/cast.h"

namespace lockstep::nn {
namespace {

absl::Status CheckPrompt(const ModelConfig& config, absl::Span<const int32_t> prompt) {
  if (prompt.empty()) return UserError("prompt", "want at least one token");
  for (const int32_t id : prompt) {
    if (id < 0 || id >= config.vocab_size) {
      return UserError("prompt", absl::StrCat("want token ids below the model's vocab_size ",
                                              config.vocab_size, ", got ", id));
    }
  }
  const int64_t length = static_cast<int64_t>(prompt.size()), longest = config.longest_document();
  if (longest > 0 && length >= longest) {
    return UserError(
        "prompt", absl::StrCat("want fewer tokens than the model's ", longest, ", got ", length));
  }
  return absl::OkStatus();
}

struct Text {
  std::vector<int32_t> seen;  // by the model
  std::vector<int32_t> news;  // what it has not seen yet
  KvCache cache;              // of what it has seen
  std::optional<Stop> stop = {};

  int64_t length() const { return cache.length() + static_cast<int64_t>(news.size()); }
  bool is_full() const { return length() > cache.capacity(); }
};

Text Begin(const Context& context, const Decoder& decoder, absl::Span<const int32_t> prompt,
           int64_t max_new_tokens) {
  const ModelConfig& config = decoder.config();
  int64_t capacity = static_cast<int64_t>(prompt.size()) + max_new_tokens;
  if (const int64_t longest = config.longest_document(); longest > 0) {
    capacity = std::min(capacity, longest);
  }
  return {{},
          {prompt.begin(), prompt.end()},
          KvCache(context, config, decoder.compute_dtype(), capacity)};
}

// With dynamic and longrope a text that grows may come to other frequencies: all of its keys are
// turned by those, as if it had been as long from the start.
void ForgetStaleKeys(const ModelConfig& config, Text& text) {
  const bool same =
      std::all_of(config.ropes.begin(), config.ropes.end(), [&](const RopeConfig& rope) {
        return HaveSameFrequencies(rope, text.cache.length(), text.length());
      });
  if (same || text.seen.empty()) return;
  text.news.insert(text.news.begin(), text.seen.begin(), text.seen.end());
  text.seen.clear();
  text.cache.Clear();
}

// The logits of what follows each text, [texts, V]. All have news.
std::vector<float> NextLogits(const Context& context, const Decoder& decoder,
                              absl::Span<Text* const> texts) {
  std::vector<int32_t> ids, positions, cu_seqlens = {0}, last_rows;
  ForwardOptions options;
  for (Text* text : texts) {
    ForgetStaleKeys(decoder.config(), *text);
    for (size_t i = 0; i < text->news.size(); ++i) {
      ids.push_back(text->news[i]);
      positions.push_back(static_cast<int32_t>(text->cache.length() + i));
    }
    cu_seqlens.push_back(static_cast<int32_t>(ids.size()));
    last_rows.push_back(cu_seqlens.back() - 1);
    options.caches.push_back(&text->cache);
  }
  const PackedTokens pack = ToDevice(context, {ids, positions, cu_seqlens, {}, {}, {}});
  autograd::Tape tape(context, autograd::Tape::Mode::kForward);
  const autograd::Variable hidden = decoder.Hidden(tape, pack, options);
  const Tensor logits = decoder.Logits(tape, hidden, FromHost<int32_t>(context, last_rows));
  const Tensor wide =
      Tensor::Empty(*context.allocator, DType::kF32, {logits.dim(0), logits.dim(1)});
  kernels::Cast(context.stream, logits, wide.Mutable("generate"));
  return ToHost<float>(context, wide);
}

}  // namespace

absl::StatusOr<std::vector<Stop>> GenerateAll(
    const Context& context, const Decoder& decoder, absl::Span<const std::vector<int32_t>> prompts,
    const GenerateOptions& options, absl::FunctionRef<bool(size_t text, int32_t id)> on_token) {
  std::vector<Text> texts;
  for (const std::vector<int32_t>& prompt : prompts) {
    RETURN_IF_ERROR(CheckPrompt(decoder.config(), prompt));
    texts.push_back(Begin(context, decoder, prompt, options.max_new_tokens));
  }
  const auto& ends = options.stop_ids;
  for (int64_t index = 0; index < options.max_new_tokens; ++index) {
    std::vector<Text*> going_on;
    for (Text& text : texts) {
      if (!text.stop && text.is_full()) text.stop = Stop::kModelLength;
      if (!text.stop) going_on.push_back(&text);
    }
    if (going_on.empty()) break;
    const std::vector<float> logits = NextLogits(context, decoder, going_on);
    const size_t vocab = logits.size() / going_on.size();
    for (size_t i = 0; i < going_on.size(); ++i) {
      Text& text = *going_on[i];
      text.seen.insert(text.seen.end(), text.news.begin(), text.news.end());
      ASSIGN_OR_RETURN(const int32_t next,
                       SampleToken(absl::MakeConstSpan(logits).subspan(i * vocab, vocab),
                                   options.sample, index));
      text.news = {next};
      if (std::find(ends.begin(), ends.end(), next) != ends.end()) {
        text.stop = Stop::kStopToken;
      } else if (!on_token(static_cast<size_t>(&text - texts.data()), next)) {
        text.stop = Stop::kCaller;
      }
    }
  }
  std::vector<Stop> stops;
  for (const Text& text : texts) stops.push_back(text.stop.value_or(Stop::kMaxNewTokens));
  return stops;
}

absl::StatusOr<Stop> Generate(const Context& context, const Decoder& decoder,
                              absl::Span<const int32_t> prompt, const GenerateOptions& options,
                              absl::FunctionRef<bool(int32_t)> on_token) {
  ASSIGN_OR_RETURN(const std::vector<Stop> stops,
                   GenerateAll(context, decoder, {{prompt.begin(), prompt.end()}}, options,
                               [&](size_t, int32_t id) { return on_token(id); }));
  return stops[0];
}

}  // namespace lockstep::nn
