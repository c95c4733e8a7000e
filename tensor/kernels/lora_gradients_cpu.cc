#include "tensor/kernels/lora_gradients_parts.h"

namespace lockstep::kernels::cpu {

void LoraGradients(const Stream& stream, const View& d, const std::vector<LoraPart>& parts,
                   const View&) {
  MultiplyParts(stream, d, parts);
}

}  // namespace lockstep::kernels::cpu
