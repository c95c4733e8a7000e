#include "tools/benchmarks/gemm_products.h"

#include <algorithm>

#include "nn/modules.h"

namespace lockstep {

std::vector<GemmProduct> GemmProductsOf(const nn::ModelConfig& config, int64_t tokens,
                                        int64_t head_rows) {
  std::vector<GemmProduct> products;
  const auto add = [&](const std::string& name, int64_t rows, int64_t in, int64_t out, bool adds) {
    products.push_back({name, rows, out, in, true, false});
    products.push_back({name + "_dx", rows, in, out, false, adds});
  };
  const nn::ModelModules modules = nn::ModulesOf(config);
  const nn::LayerModules& layer = modules.layers[0];
  add("qkv", tokens, layer.qkv.in(), layer.qkv.out(), true);
  add("o", tokens, layer.o.in(), layer.o.out(), true);
  add("gate_up", tokens, layer.gate_up.in(), layer.gate_up.out(), true);
  add("down", tokens, layer.down.in(), layer.down.out(), false);  // the gated unit adds its share
  add("head", std::min(head_rows, tokens), modules.head.in, modules.head.out, false);
  return products;
}

}  // namespace lockstep
