#include "nn/rope.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>

#include "autograd/ops/rope.h"
#include "nn/host_tensor.h"

namespace lockstep::nn {
namespace {

using Kind = RopeConfig::Kind;

float Llama3(const RopeConfig& config, float f) {
  const double original = static_cast<double>(config.original_max_position_embeddings);
  const float wave = (1 / f) * (2 * std::numbers::pi_v<float>);
  if (wave < original / config.high_freq_factor) return f;
  const float factor = static_cast<float>(config.factor);
  if (wave > original / config.low_freq_factor) return f / factor;
  const float turns = (1 / wave) * static_cast<float>(original);
  const float smooth = (turns - static_cast<float>(config.low_freq_factor)) /
                       static_cast<float>(config.high_freq_factor - config.low_freq_factor);
  return (1 - smooth) * f / factor + smooth * f;
}

// Dynamic: theta for documents of `length`.
float GrownTheta(const RopeConfig& config, int64_t length) {
  const double dim = static_cast<double>(config.rotary_dim);
  const float theta = static_cast<float>(config.theta);
  if (length <= config.max_position_embeddings || config.rotary_dim <= 2) return theta;
  const float reach = static_cast<float>(config.factor) * static_cast<float>(length) /
                          static_cast<float>(config.max_position_embeddings) -
                      static_cast<float>(config.factor - 1);
  return theta * static_cast<float>(std::pow(static_cast<double>(reach), dim / (dim - 2)));
}

// The share of f / factor in each frequency.
std::vector<float> YarnRamp(const RopeConfig& config) {
  const double dim = static_cast<double>(config.rotary_dim);
  const double original = static_cast<double>(config.original_max_position_embeddings);
  const auto channel = [&](double turns) {
    return dim * std::log(original / (turns * 2 * std::numbers::pi)) / (2 * std::log(config.theta));
  };
  double low = channel(config.beta_fast), high = channel(config.beta_slow);
  if (config.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1);
  if (low == high) high += 0.001;
  std::vector<float> ramp(config.rotary_dim / 2);
  for (size_t i = 0; i < ramp.size(); ++i) {
    const float share =
        (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    ramp[i] = std::clamp(share, 0.0f, 1.0f);
  }
  return ramp;
}

// Documents of equal class have the same frequencies.
int64_t LengthClass(const RopeConfig& config, int64_t length) {
  if (config.kind == Kind::kDynamic) return std::max(length, config.max_position_embeddings);
  if (config.kind == Kind::kLongRope) return length > config.original_max_position_embeddings;
  return 0;
}

}  // namespace

std::vector<float> InverseFrequencies(const RopeConfig& config, int64_t length) {
  const int64_t half = config.rotary_dim / 2;
  const double dim = static_cast<double>(config.rotary_dim);
  const float theta =
      config.kind == Kind::kDynamic ? GrownTheta(config, length) : static_cast<float>(config.theta);
  const bool is_long = length > config.original_max_position_embeddings;
  const std::vector<float> ramp =
      config.kind == Kind::kYarn ? YarnRamp(config) : std::vector<float>();
  std::vector<float> frequencies(half);
  for (int64_t i = 0; i < half; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(dim);
    const float wave = std::pow(theta, exponent);
    float f = 1 / wave;
    if (config.kind == Kind::kLinear) f /= static_cast<float>(config.factor);
    if (config.kind == Kind::kLlama3) f = Llama3(config, f);
    if (config.kind == Kind::kYarn) {
      const float scaled = 1 / (static_cast<float>(config.factor) * wave), own = 1 - ramp[i];
      f = scaled * (1 - own) + f * own;
    }
    if (config.kind == Kind::kLongRope) {
      const auto& factors = is_long ? config.long_factor : config.short_factor;
      f = 1 / (static_cast<float>(factors[i]) * wave);
    }
    frequencies[i] = f;
  }
  return frequencies;
}

bool HaveSameFrequencies(const RopeConfig& config, int64_t length, int64_t other) {
  return LengthClass(config, length) == LengthClass(config, other);
}

Tensor PackRopeTable(const Context& context, const RopeConfig& config, const Tensor& positions,
                     absl::Span<const int32_t> starts, absl::Span<const int64_t> lengths) {
  std::map<int64_t, int32_t> row_of;  // length class -> row
  std::vector<float> rows;
  std::vector<int32_t> row_of_token(positions.dim(0), 0);
  for (size_t d = 0; d < lengths.size(); ++d) {
    const auto [it, is_new] =
        row_of.emplace(LengthClass(config, lengths[d]), static_cast<int32_t>(row_of.size()));
    if (is_new) {
      const std::vector<float> row = InverseFrequencies(config, lengths[d]);
      rows.insert(rows.end(), row.begin(), row.end());
    }
    std::fill(row_of_token.begin() + starts[d], row_of_token.begin() + starts[d + 1], it->second);
  }
  if (rows.empty()) rows = InverseFrequencies(config, 0);
  const int64_t half = config.rotary_dim / 2;
  const int64_t num_rows = static_cast<int64_t>(rows.size()) / half;
  const Tensor frequencies = FromHost<float>(context, rows).Reshape({num_rows, half});
  Tensor row;
  if (num_rows > 1) row = FromHost<int32_t>(context, row_of_token);
  return autograd::RopeTable(context, positions, frequencies, row, config.attention_factor);
}

}  // namespace lockstep::nn
