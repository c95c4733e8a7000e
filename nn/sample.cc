#include "nn/sample.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "tensor/kernels/philox.h"

namespace lockstep::nn {
namespace {

// In [0, 1), 53 bits.
double Uniform(uint64_t seed, int64_t index) {
  const kernels::PhiloxBlock counter{
      {static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), 0, 0}};
  const kernels::PhiloxBlock bits = kernels::Philox(counter, seed);
  const uint64_t whole = (static_cast<uint64_t>(bits.word[0]) << 32) | bits.word[1];
  return static_cast<double>(whole >> 11) * 0x1p-53;
}

// Token ids, the likeliest first; of equals the smaller id. Only the first `count` are sorted.
std::vector<int32_t> Likeliest(absl::Span<const float> logits, int64_t count) {
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto before = [&](int32_t a, int32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  };
  std::partial_sort(ids.begin(), ids.begin() + count, ids.end(), before);
  ids.resize(count);
  return ids;
}

}  // namespace

absl::StatusOr<int32_t> SampleToken(absl::Span<const float> logits, const SampleOptions& options,
                                    int64_t index) {
  CHECK(!logits.empty() && options.temperature >= 0 && options.top_k >= 0 && options.top_p > 0);
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i])) {
      return UserError("generate", absl::StrCat("the logit of token ", i, " is not a number"),
                       "the weights are damaged, or the type of computation is too narrow");
    }
  }
  if (options.temperature == 0) {
    return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  const int64_t size = static_cast<int64_t>(logits.size());
  const int64_t kept = options.top_k == 0 ? size : std::min(options.top_k, size);
  const std::vector<int32_t> ids = Likeliest(logits, kept);
  std::vector<double> weights(kept);
  double total = 0;
  for (int64_t i = 0; i < kept; ++i) {
    // Infinite logits: the largest has weight 1, also where inf − inf would be no number.
    const double below =
        logits[ids[i]] == logits[ids[0]] ? 0 : static_cast<double>(logits[ids[i]]) - logits[ids[0]];
    weights[i] = std::exp(below / options.temperature);
    total += weights[i];
  }
  int64_t nucleus = 0;
  double mass = 0;
  do mass += weights[nucleus++];
  while (nucleus < kept && mass < options.top_p * total);
  double rest = Uniform(options.seed, index) * mass;
  for (int64_t i = 0; i + 1 < nucleus; ++i) {
    rest -= weights[i];
    if (rest < 0) return ids[i];
  }
  return ids[nucleus - 1];
}

}  // namespace lockstep::nn
