// The flags of LoRA's variants; names and meanings are PEFT's.
#pragma once

#include "absl/status/status.h"
#include "nn/lora.h"

namespace lockstep {

// Sets DoRA, initialization, layers, patterns, further modules and LoRA+ as the flags say. Errors:
// UserError naming the flag.
absl::Status ReadVariantFlags(nn::LoraConfig* lora);

// An error if one of them is set: for runs whose adapter comes from a folder.
absl::Status RefuseVariantFlags(absl::string_view because);

}  // namespace lockstep
