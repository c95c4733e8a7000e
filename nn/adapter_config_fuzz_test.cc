#include "base/check.h"
#include "base/fuzz/driver.h"
#include "nn/adapter_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> warnings;
  const auto config = lockstep::nn::ParseAdapterConfig(text, "fuzz", &warnings);
  if (!config.ok()) return 0;
  CHECK_GE(config->r, 1);
  const std::vector<std::string> modules = {"model.layers.0.self_attn.q_proj", "lm_head"};
  lockstep::nn::ResolveTargets(*config, modules).IgnoreError();
  CHECK(!lockstep::nn::FormatAdapterConfig(*config, "base", modules).empty());
  return 0;
}
