// The flags that say what is trained: an adapter or every weight. Names and meanings are PEFT's.
#pragma once

#include <set>
#include <string>

#include "absl/status/status.h"
#include "nn/model.h"

namespace lockstep {

// Sets what is trained, from which values, and the new adapter's options or the folder of an old
// one. Errors: UserError naming the flag; one that would have no effect is an error, too.
absl::Status ReadAdapterFlags(nn::ModelOptions* model);

// With --init_adapter the adapter's own options hold; a flag that says something else is an error.
// `model` is as ReadAdapterFlags made it, with its directory.
absl::Status CheckAgainstAdapter(const nn::ModelOptions& model);

// The flags that say nothing about this run: those of a new adapter, where it has none.
std::set<std::string> IdleAdapterFlags(const nn::ModelOptions& model);

}  // namespace lockstep
