#include "base/check.h"
#include "base/fuzz/driver.h"
#include "nn/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const auto config = lockstep::nn::ParseModelConfig(text, "fuzz");
  if (!config.ok()) return 0;
  CHECK_GE(config->num_layers(), 1);
  for (const lockstep::nn::LayerConfig& layer : config->layers) {
    CHECK_LT(layer.rope, static_cast<int>(config->ropes.size()));
  }
  return 0;
}
