#include "trainer/step/device_pack.h"

namespace lockstep {

int64_t RowMultiple(DeviceType device) {
  return device == DeviceType::kCUDA ? nn::kGpuRowMultiple : 1;
}

nn::PackedTokens OnDevice(const Context& context, const data::Pack& pack) {
  return nn::ToDevice(context,
                      {pack.input_ids, pack.positions, pack.cu_seqlens, pack.target_rows,
                       pack.targets, pack.token_keys},
                      RowMultiple(context.device().type));
}

}  // namespace lockstep
