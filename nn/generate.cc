#include "nn/generate.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "autograd/tape.h"
#include "base/status.h"
#include "nn/host_tensor.h"
#include "nn/kv_cache.h"
#include "nn/packed_tokens.h"
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
  const int64_t length = static_cast<int64_t>(prompt.size());
  if (config.max_position_embeddings > 0 && length >= config.max_position_embeddings) {
    return UserError("prompt", absl::StrCat("want fewer tokens than the model's ",
                                            config.max_position_embeddings, ", got ", length));
  }
  return absl::OkStatus();
}

// The logits of what follows `ids`, which come behind what the cache holds.
std::vector<float> NextLogits(const Context& context, const Decoder& decoder,
                              absl::Span<const int32_t> ids, KvCache& cache) {
  std::vector<int32_t> positions(ids.size());
  std::iota(positions.begin(), positions.end(), static_cast<int32_t>(cache.length()));
  const int32_t length = static_cast<int32_t>(ids.size());
  const int32_t cu_seqlens[] = {0, length};
  const PackedTokens pack = ToDevice(context, {ids, positions, cu_seqlens, {}, {}, {}});

  autograd::Tape tape(context, autograd::Tape::Mode::kForward);
  const autograd::Variable hidden = decoder.Hidden(tape, pack, {.cache = &cache});
  const Tensor last_row = FromHost<int32_t>(context, {length - 1});
  const Tensor logits = decoder.Logits(tape, hidden, last_row);
  const Tensor wide = Tensor::Empty(*context.allocator, DType::kF32, {1, logits.dim(1)});
  kernels::Cast(context.stream, logits, wide.Mutable("generate"));
  return ToHost<float>(context, wide);
}

}  // namespace

absl::StatusOr<Stop> Generate(const Context& context, const Decoder& decoder,
                              absl::Span<const int32_t> prompt, const GenerateOptions& options,
                              absl::FunctionRef<bool(int32_t)> on_token) {
  const ModelConfig& config = decoder.config();
  RETURN_IF_ERROR(CheckPrompt(config, prompt));
  int64_t capacity = static_cast<int64_t>(prompt.size()) + options.max_new_tokens;
  if (config.max_position_embeddings > 0) {
    capacity = std::min(capacity, config.max_position_embeddings);
  }
  KvCache cache(context, config, decoder.compute_dtype(), capacity);
  std::vector<int32_t> news(prompt.begin(), prompt.end());
  for (int64_t index = 0; index < options.max_new_tokens; ++index) {
    if (cache.length() + static_cast<int64_t>(news.size()) > capacity) return Stop::kModelLength;
    const std::vector<float> logits = NextLogits(context, decoder, news, cache);
    ASSIGN_OR_RETURN(const int32_t next, SampleToken(logits, options.sample, index));
    const auto& ends = options.stop_ids;
    if (std::find(ends.begin(), ends.end(), next) != ends.end()) return Stop::kStopToken;
    if (!on_token(next)) return Stop::kCaller;
    news = {next};
  }
  return Stop::kMaxNewTokens;
}

}  // namespace lockstep::nn
