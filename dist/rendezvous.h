// Serving and finding the store, as the launch environment says.
#pragma once

#include <chrono>
#include <memory>

#include "absl/status/statusor.h"
#include "dist/launch_env.h"
#include "dist/store.h"

namespace lockstep::dist {

// For rank 0 without a parent, and for the parent of node 0. Listens on env.master_addr alone. A
// UserError where that is not this machine, or where this run has a store already: then several
// processes take themselves for rank 0.
absl::StatusOr<std::unique_ptr<StoreServer>> StartStore(const LaunchEnv& env);

// A UserError after `timeout`, or when it is given up.
absl::StatusOr<std::unique_ptr<StoreClient>> FindStore(const LaunchEnv& env,
                                                       std::chrono::milliseconds timeout,
                                                       GiveUp give_up = Never);

}  // namespace lockstep::dist
