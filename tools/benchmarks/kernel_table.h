// Which kernels a GPU's time goes to.
#pragma once

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "tensor/context.h"

namespace lockstep {

// Watches the device while `run` queues `steps` steps, and prints a step's kinds of work and the
// `top` kernels that took longest (tensor/profile/summary.h). Errors: `run`'s, and no GPU or CUPTI.
absl::Status PrintKernelTable(const Context& context, int steps, int top,
                              absl::FunctionRef<absl::Status()> run);

}  // namespace lockstep
