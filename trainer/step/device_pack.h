// A pack in a device's memory, as the decoder reads it.
#pragma once

#include <cstdint>

#include "data/pack.h"
#include "nn/packed_tokens.h"
#include "tensor/context.h"

namespace lockstep {

// Packs have a multiple of this many rows on a device, the last of them of no document.
int64_t RowMultiple(DeviceType device);

nn::PackedTokens OnDevice(const Context& context, const data::Pack& pack);

}  // namespace lockstep
